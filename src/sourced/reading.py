"""Reading: a stream, the log, a story; how far everybody has come, and why anything waits."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypedDict

from sourced.doctor import Finding
from sourced.envelope import Message, To, address, zoned
from sourced.errors import Invalid
from sourced.messages import Payload
from sourced.operations.diagnosing import diagnosed
from sourced.operations.groups import Status, alive, group_infos
from sourced.ops import Op
from sourced.runtime import foreground
from sourced.runtime.programs import Program, Transact
from sourced.store import StreamState, Worker
from sourced.verbs import Side, verb


class Filters(TypedDict, total=False):
    """What of the log is wanted."""

    types: Iterable[type[Payload]] | None
    since: datetime | None
    until: datetime | None
    backwards: bool


class ReadingVerbs(Side):
    """To look at what is stored, and at who works on it."""

    @verb
    def history(self, stream: To, *, after: int = 0, upto: int | None = None) -> Program[list[Message[Any]]]:
        """A stream's messages in order: after one seq, up to and including another."""
        records = yield from foreground.read(self._engine, address(stream), after, upto)
        return self._engine.codec.decode_all(records)

    @verb
    def read_all(
        self, *, after: int = 0, limit: int | None = None, types: Iterable[type[Payload]] | None = None,
        since: datetime | None = None, until: datetime | None = None, backwards: bool = False,
    ) -> Program[list[Message[Any]]]:  # fmt: skip
        """The log in order of position: after one position, of some types, made since a time and until another."""
        names = None if types is None else {name for cls in types for name in cls.__sourced__.names}
        for time in (since, until):
            if time is not None:
                zoned("read_all", time)
        op = self._engine.store.read_all(
            after=_position(after), limit=not_negative(limit), types=names, since=since, until=until,
            backwards=backwards,
        )  # fmt: skip
        return self._engine.codec.decode_all((yield Transact(op, reading=True)))

    @verb
    def trace(self, message: str | Message[Any]) -> Program[list[Message[Any]]]:
        """The whole story a message belongs to: what caused it and all that followed, in order. Empty when unknown."""
        records = yield Transact(self._engine.store.trace(id_of(message)), reading=True)
        return self._engine.codec.decode_all(records)

    @verb
    def streams(self, limit: int | None = 10) -> Program[list[StreamState]]:
        """The streams that changed last, newest first."""
        return (yield Transact(self._engine.store.streams(not_negative(limit)), reading=True))

    @verb
    def status(self) -> Program[Status]:
        """How much there is, how far every group has come and what waits."""

        def op() -> Op[Status]:
            streams, position = yield from self._engine.store.extent()
            groups = yield from group_infos(self._engine)
            return Status(streams, position, tuple(groups), (yield from self._engine.store.count_scheduled()))

        return (yield Transact(op(), reading=True))

    @verb
    def doctor(self) -> Program[list[Finding]]:
        """Why anything waits, and what to do about it: trouble first; last what is `fine`, and worth knowing."""
        return (yield Transact(diagnosed(self._engine), reading=True))

    @verb
    def workers(self) -> Program[list[Worker]]:
        """The workers that are alive, the longest-serving first."""
        return (yield Transact(alive(self._engine), reading=True))


def id_of(message: str | Message[Any]) -> str:
    if isinstance(message, str | Message):
        return message if isinstance(message, str) else message.id
    raise Invalid("message", {"message": f"expected a stored message or its id, found {message!r}"})


def at_least_one(size: int) -> int:
    if size < 1:
        raise Invalid("pages", {"size": f"expected 1 or more, found {size}"})
    return size


def not_negative(limit: int | None) -> int | None:
    if limit is not None and limit < 0:
        raise Invalid("limit", {"limit": f"expected 0 or more, or None for all, found {limit}"})
    return limit


def _position(after: int) -> int:
    if after < 0:
        raise Invalid("after", {"after": f"expected a position, 0 or more, found {after}"})
    return after
