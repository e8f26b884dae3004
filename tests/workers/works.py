"""A worker in a process of its own: `python -m tests.workers.works URL WHAT lease=1 rounds=2`; it says what it does.

A message `slow` waits until the stream `go` has a message in it: plain or async, as the reactor is.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from sourced import Delivery, Reactor, Sourced
from sourced.actions import Actions, Send
from sourced.app import store_at
from sourced.envelope import Message
from sourced.testing.shop import Cart, Stock
from tests.facts import eventually, until
from tests.runtime.listener import Ignored, Noted


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def overheard(record: logging.LogRecord) -> bool:
    say(record.getMessage())
    return False


class Plain(Reactor, group="plain"):
    """Says what it begins with and what it is through with, and leaves an echo that can be counted."""

    handles = (Noted,)
    app: Sourced

    def handle(self, delivery: Delivery) -> Actions:
        text = delivery.message.payload.text
        say("begins", text)
        if text.startswith("slow"):
            eventually(lambda: self.app.history("go"))
        say("ends", text)
        return echoed(delivery)


class Awaiting(Plain, group="awaiting"):
    async def handle(self, delivery: Delivery) -> Actions:  # type: ignore[override]
        text = delivery.message.payload.text
        say("begins", text)
        if text.startswith("slow"):
            await until(lambda: self.app.history("go"))
        say("ends", text)
        return echoed(delivery)


def echoed(delivery: Delivery) -> Actions:
    group = delivery.message.payload.text
    return (Send((Message.new(Ignored(), stream=f"echo-{group}", now=delivery.now),)),)


def made(url: str, what: str, *, timeout: float = 10.0, **options: Any) -> Sourced:
    """An app that does what it is told to; `timeout` is how long it waits for a database that is away."""
    app = Sourced(store_at(url, timeout=timeout) if url != "memory://" else url, **options)
    if what == "shop":
        app.register(Cart, Stock)
    else:
        reactor: Any = {"plain": Plain, "awaiting": Awaiting}[what]()
        reactor.app = app
        app.register(reactor)
    return app


def main(url: str, what: str, *options: str) -> None:
    logging.basicConfig(level=logging.ERROR)
    logging.getLogger("sourced.worker").addFilter(overheard)
    logging.getLogger("sourced.worker").setLevel(logging.INFO)
    given = {name: json.loads(value) for name, value in (option.split("=") for option in options)}
    rounds = given.pop("rounds", 2)
    with made(url, what, **given) as app:
        app.run(rounds=rounds)
    say("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
