"""Those who transfer money all the time, and never give up: what they were told is stored has to be there."""

from __future__ import annotations

import threading
from random import Random
from typing import Any

from sourced import Message, Sourced
from sourced.errors import Conflict, Duplicate, Unavailable
from tests.chaos.bank import ACCOUNTS, OPENING, Open, Withdraw, account


class Client:
    """A thread that sends one transfer after the other, some decided here and now, most by the workers."""

    def __init__(self, app: Sourced, number: int, seed: int, rate: float) -> None:
        self._app = app
        self._luck = Random(f"{seed} {number}")
        self._pause = 1 / rate
        self._number = number
        self._ended = threading.Event()
        self.sent: dict[str, str] = {}  # ids that are stored, and in which streams
        self.failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._work, name=f"client {number}")
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        number = self._number
        try:
            while not self._ended.wait(self._luck.uniform(0, 2 * self._pause)):
                number += 1_000
                self._transfer(number)
        except BaseException as error:
            self.failures.append(error)

    def _transfer(self, number: int) -> None:
        source, target = self._luck.sample(range(ACCOUNTS), 2)
        amount = self._luck.randint(1, OPENING // 2)
        command = Withdraw(number, amount, account(target))
        message = Message.new(command, stream=account(source), now=self._app._engine.clock.now())
        stored(self._app, message, here_and_now=self._luck.random() < 0.2)
        self.sent[message.id] = message.stream


def stored(app: Sourced, message: Message[Any], *, here_and_now: bool) -> None:
    """As often as it takes: the same message is stored once."""
    while True:
        try:
            if here_and_now:
                app.execute(message)
            else:
                app.dispatch(message)
        except Duplicate:
            return  # it was, the last time
        except (Unavailable, Conflict):
            continue
        return


def open_accounts(app: Sourced) -> dict[str, str]:
    now = app._engine.clock.now()
    messages = [Message.new(Open(OPENING), stream=account(number), now=now) for number in range(ACCOUNTS)]
    for message in messages:
        stored(app, message, here_and_now=False)
    return {message.id: message.stream for message in messages}
