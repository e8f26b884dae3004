"""What the tests of rounds share: a low-level reactor that remembers its deliveries, and threads that work at once."""

import threading
from collections.abc import Callable
from typing import Any

from sourced import Delivery, Event, Message, Reactor, Send, Sourced
from sourced.actions import Action, Actions
from sourced.store import Straggler, shard_of
from sourced.testing import VirtualClock


class Noted(Event, type="test.noted"):
    text: str = ""


class Ignored(Event, type="test.ignored"): ...


class Listener(Reactor, group="listener"):
    """Remembers what it was handed, and answers what it is told to."""

    handles = (Noted,)

    def __init__(self, answer: Callable[[Delivery], Actions] = lambda delivery: ()) -> None:
        self.answer = answer
        self.seen: list[Delivery] = []

    def handle(self, delivery: Delivery) -> Actions:
        self.seen.append(delivery)
        return self.answer(delivery)

    @property
    def places(self) -> list[tuple[str, int]]:
        return [(each.message.stream, each.message.seq) for each in self.seen]

    @property
    def texts(self) -> list[str]:
        return [each.message.payload.text for each in self.seen]

    @property
    def replays(self) -> list[bool]:
        return [each.replaying for each in self.seen]

    def forget(self) -> None:
        self.seen.clear()


def listening(answer: Callable[[Delivery], Actions] = lambda delivery: (), **options: Any) -> tuple[Sourced, Listener]:
    """An app with a clock that stands still, and one listener."""
    app, listener = Sourced(**{"clock": VirtualClock(), **options}), Listener(answer)
    app.register(listener)
    return app, listener


def answering(*actions: Action, to: str = "") -> Callable[[Delivery], Actions]:
    """These actions for the message with that text; the others are just acknowledged."""
    return lambda delivery: actions if delivery.message.payload.text == to else ()


def echo(delivery: Delivery) -> Actions:
    """An effect that can be counted: a message in the stream `echo-…`."""
    return (Send((Message.new(Ignored(), stream=f"echo-{delivery.message.payload.text}", now=delivery.now),)),)


def failing(*texts: str) -> Callable[[Delivery], Actions]:
    """Fails for messages with these texts and echoes every other one."""
    return lambda delivery: refuse(delivery) if delivery.message.payload.text in texts else echo(delivery)


def refuse(delivery: Delivery) -> Actions:
    raise ValueError(f"cannot take {delivery.message.payload.text}")


def handled(app: Sourced, *texts: str) -> list[int]:
    """How often each message's echo was stored."""
    return [len(app.history(f"echo-{text}")) for text in texts]


def waiting(app: Sourced) -> list[Straggler]:
    """The streams that wait for themselves, parked or not."""
    return [row for info in app.groups.list() for row in info.stragglers]


def streams(count: int, *, apart: bool = True) -> list[str]:
    """Names of streams that all live in shards of their own, or all in the first one's."""
    names: dict[int, list[str]] = {}
    for n in range(1_000):
        names.setdefault(shard_of(f"s{n}"), []).append(f"s{n}")
    shards = list(names.values())
    return [each[0] for each in shards[:count]] if apart else shards[0][:count]


def together(*works: Callable[[], object]) -> None:
    """Runs pieces of work in threads of their own, all starting at once; the first exception is raised here."""
    start, failures = threading.Barrier(len(works)), list[BaseException]()

    def run(work: Callable[[], object]) -> None:
        start.wait()
        try:
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
