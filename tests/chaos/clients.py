"""Those who transfer money all the time, and never give up: what they were told is stored has to be there."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

from sourced import Message, Sourced
from sourced.errors import Behind, Conflict, Duplicate, NotKnown, StillRunning, Unavailable
from tests.chaos.bank import ACCOUNTS, OPENING, Accounts, Dripped, Noted, Open, Withdraw, account
from tests.chaos.boards import Turnover
from tests.chaos.errands import Errand, Go
from tests.chaos.open import counter
from tests.chaos.places import Place

PASSING = (Unavailable, Conflict, Behind)  # what to do after it is to try again
BURST = 5  # messages that come due at the same time


class Client:
    """A thread that does one thing after the other; each kind of client has things of its own to do."""

    kind = "client"

    def __init__(self, app: Sourced, place: Place, number: int, seed: int, rate: float) -> None:
        self.app = app
        self.place = place
        self.luck = Random(f"{seed} {self.kind} {number}")
        self.number = number
        self.sent: dict[str, str] = {}  # ids that are stored, and in which streams
        self.failures: list[BaseException] = []
        self._pause = 1 / rate
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"{self.kind} {number}")
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        number = self.number
        try:
            while not self._ended.wait(self.luck.uniform(0, 2 * self._pause)):
                number += 1_000
                self.do(number)
        except BaseException as error:
            self.failures.append(error)

    def do(self, number: int) -> None:
        raise NotImplementedError

    def transfer(self, number: int) -> Message[Any]:
        source, target = self.luck.sample(range(ACCOUNTS), 2)
        command = Withdraw(number, self.luck.randint(1, OPENING // 2), account(target))
        return self.message(command, account(source))

    def message(self, payload: Any, stream: str) -> Message[Any]:
        return Message.new(payload, stream=stream, now=self.app._engine.clock.now())


class Transferring(Client):
    """Some of it is decided here and now, some with all that follows, most by the workers."""

    def do(self, number: int) -> None:
        message, chance = self.transfer(number), self.luck.random()
        if chance < 0.2:
            stored(lambda: self.app.execute(message))
        elif chance < 0.3:
            reactors = (Accounts, Turnover) if chance < 0.25 else (Accounts,)
            stored(lambda: self.app.unit(*reactors).execute(message))
        else:
            stored(lambda: self.app.dispatch(message))
        self.sent[message.id] = message.stream


class Impatient(Client):
    """Tasks that are cancelled wherever they are, and tried again; and drains, which hold shards while they work."""

    kind = "impatient"

    def __init__(self, app: Sourced, *args: Any) -> None:
        super().__init__(counter(app), *args)

    def do(self, number: int) -> None:
        message = self.transfer(number)
        asyncio.run(self._impatiently(message))
        stored(lambda: self.app.dispatch(message))
        self.sent[message.id] = message.stream

    async def _impatiently(self, message: Message[Any]) -> None:
        """On one loop, so that what was cancelled leaves its connection to the next one."""
        for _ in range(self.luck.randint(1, 4)):
            verbs: list[Callable[[Message[Any]], Any]] = [self.app.aio.execute, self.app.aio.dispatch, self._drain]
            verb = self.luck.choice(verbs)
            task = asyncio.ensure_future(verb(message))
            await asyncio.sleep(self.luck.choice([0.0, 0.001, 0.003, 0.01, 0.05]) * self.luck.random())
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Duplicate, *PASSING):
                await task

    async def _drain(self, _: Message[Any]) -> Any:
        return await self.app.aio.drain(limit=100)


class Joining(Client):
    """Stores messages in two streams, and a row of his own, in a transaction that is his."""

    kind = "joining"

    def do(self, number: int) -> None:
        one, other = self.luck.sample(range(ACCOUNTS), 2)
        notes = [self.message(Noted(number), f"notes-{each:02}") for each in (one, other)]
        with contextlib.suppress(*PASSING, *self.place.errors):
            with self.place.joined() as connection:
                client = self.app.using(connection, streams=[each.stream for each in notes])
                self.place.say(connection, "insert into receipts (number) values (?)", number)
                for each in notes:
                    client.append(each.stream, each)
                if self.luck.random() < 0.2:
                    raise Unavailable("he has changed his mind", "")
            self.sent.update((each.id, each.stream) for each in notes)


class Dripping(Client):
    """Messages that come due together, a moment from now, and have to come in the order in which they were given."""

    kind = "dripping"

    def do(self, number: int) -> None:
        due = self.app._engine.clock.now() + timedelta(seconds=0.3)
        for each in range(BURST):
            message = self.message(Dripped(number * BURST + each), f"drips-{self.number}")
            stored(partial(self.app.dispatch, message, at=due))
            self.sent[message.id] = message.stream


class Directing(Client):
    """Begins runs, and sends them what they wait for; some are begun once more in the middle, some are called off."""

    kind = "directing"

    def do(self, number: int) -> None:
        run = stored(lambda: self.app.start(Errand.named(str(number)), number))
        go = self.message(Go(number), f"errand-{number}")
        with contextlib.suppress(Duplicate):
            stored(lambda: self.app.signal(go.stream, go))
        self.sent[go.id] = go.stream
        chance = self.luck.random()
        if chance < 0.1:
            with contextlib.suppress(*PASSING):
                run.cancel("never mind", at_once=self.luck.random() < 0.5)
        elif chance < 0.2:
            with contextlib.suppress(StillRunning, NotKnown, *PASSING):
                run.result(timeout=5)
                self.app.workflows.fork(run, self.luck.choice(["look#2", "linger", "look#3"]))


KINDS = (Transferring, Impatient, Joining, Dripping, Directing)


def stored(storing: Callable[[], Any]) -> Any:
    """As often as it takes: the same message is stored once."""
    while True:
        try:
            return storing()
        except Duplicate:
            return None  # it was, the last time
        except PASSING:
            continue


def open_accounts(app: Sourced) -> dict[str, str]:
    now = app._engine.clock.now()
    messages = [Message.new(Open(OPENING), stream=account(number), now=now) for number in range(ACCOUNTS)]
    for message in messages:
        stored(partial(app.dispatch, message))
    return {message.id: message.stream for message in messages}
