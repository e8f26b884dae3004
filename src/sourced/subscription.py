"""Channels: `app.publish("lists", …)`, and `with app.subscribe("lists") as notes: for note in notes`; or awaited."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import msgspec

from sourced.clock import as_delta
from sourced.errors import Invalid
from sourced.notifier import Mailbox, Note
from sourced.runtime.engine import Engine
from sourced.runtime.programs import Afterwards, Program, Transact, Work
from sourced.verbs import Side, verb


class NoteVerbs(Side):
    """To be heard by who listens."""

    @verb
    def publish(self, channel: str, data: Any) -> Program[None]:
        """Tells who listens to a channel at this moment, in every process; what nobody hears is gone.

        In a transaction it is heard when that has committed. `data` is anything that JSON can hold.
        """
        check_channel("publish", channel)
        text = _as_json(data)
        saying = self._engine.notifier.say(channel, text)
        if saying is None:
            yield Afterwards([_noted(self._engine, channel, text)])
        else:
            yield Transact(saying)


class _Subscription:
    """Notes for one who takes them, one after the other; who else listens is not kept waiting."""

    def __init__(self, engine: Engine, channels: tuple[str, ...]) -> None:
        for channel in channels:
            check_channel("subscribe", channel)
        if not channels:
            raise Invalid("subscribe", {"channels": "expected the names of channels, found none"})
        self.channels = channels
        self._engine = engine
        self._held: AbstractContextManager[Mailbox] | None = None
        self._mailbox: Mailbox | None = None

    def close(self) -> None:
        """Ends it, from anywhere: whoever waits for a note goes on."""
        if self._mailbox is not None:
            self._mailbox.close()

    def _enter(self) -> None:
        if self._held is not None:
            raise Invalid("subscribe", {"subscription": "expected one that is not in use; make another one"})
        held = self._engine.notifier.subscribe(frozenset(self.channels))
        self._mailbox = held.__enter__()
        self._held = held

    def _leave(self) -> None:
        held, self._held, self._mailbox = self._held, None, None
        if held is not None:
            held.__exit__(None, None, None)

    @property
    def _open(self) -> Mailbox:
        if self._mailbox is None:
            raise Invalid(
                "subscribe", {"subscription": "expected an open one; enter it: with app.subscribe(…) as notes"}
            )
        return self._mailbox

    def __repr__(self) -> str:
        return f"<subscription to {', '.join(self.channels)}>"


class Subscription(_Subscription):
    """What `app.subscribe` gives you. From the moment it is entered nothing that is published passes by unheard."""

    def __enter__(self) -> Subscription:
        self._enter()
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def get(self, timeout: timedelta | float | None = None) -> Note | None:
        """The next note; None when the time is up, or when it has ended."""
        return self._open.take(None if timeout is None else as_delta(timeout).total_seconds())

    def __iter__(self) -> Iterator[Note]:
        """Until it is closed; entered just for that, if it is not."""
        with contextlib.nullcontext() if self._held else self:
            while (note := self._open.take()) is not None:
                yield note


class AsyncSubscription(_Subscription):
    """What `app.aio.subscribe` gives you. From the moment it is entered nothing that is published passes by unheard."""

    async def __aenter__(self) -> AsyncSubscription:
        entering = asyncio.ensure_future(asyncio.to_thread(self._enter))  # it may have to reach the store for that
        try:
            await asyncio.shield(entering)
        except asyncio.CancelledError:
            await asyncio.wait({entering})
            await asyncio.wait({asyncio.ensure_future(asyncio.to_thread(self._leave))})
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.shield(asyncio.to_thread(self._leave))

    async def get(self, timeout: timedelta | float | None = None) -> Note | None:
        """The next note; None when the time is up, or when it has ended."""
        return await self._open.take_async(None if timeout is None else as_delta(timeout).total_seconds())

    async def __aiter__(self) -> AsyncIterator[Note]:
        """Until it is closed; entered just for that, if it is not."""
        async with contextlib.nullcontext() if self._held else self:
            while (note := await self._open.take_async()) is not None:
                yield note


def check_channel(subject: str, channel: Any) -> None:
    if not isinstance(channel, str) or not channel:
        raise Invalid(subject, {"channel": f"expected a channel's name, found {channel!r}"})


def _noted(engine: Engine, channel: str, text: str) -> Work:
    engine.notifier.note(channel, text)
    yield from ()


def _as_json(data: Any) -> str:
    try:
        return msgspec.json.encode(data).decode()
    except (TypeError, UnicodeEncodeError) as error:
        raise Invalid("publish", {"data": f"expected what JSON can hold, found {data!r}: {error}"}) from error
