"""`app.parked`: streams that wait for a person."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

from sourced.audit import OPERATIONS, ParkedRetried, ParkedSkipped, ParkedStream
from sourced.errors import Conflict, NotKnown
from sourced.messages import Payload
from sourced.operations.groups import AnyReactor
from sourced.ops import Op
from sourced.runtime.engine import Engine, committed
from sourced.runtime.programs import Afterwards, Program, Transact
from sourced.runtime.telling import told
from sourced.store import Range, Straggler
from sourced.verbs import Side, verb

Type: TypeAlias = str | type[Payload]
Streams: TypeAlias = str | Collection[str] | None


class ParkedVerbs(Side):
    """`app.parked`: streams that wait for a person."""

    @verb
    def list(
        self, reactor: AnyReactor | None = None, stream: Streams = None, *, error: str | None = None,
        type: Type | None = None,
    ) -> Program[list[Straggler]]:  # fmt: skip
        """All of them, or a group's, those of some streams, whose error says this, that are parked at such a type."""
        return (yield Transact(_parked(self._engine, reactor, stream, error, type), reading=True))

    @verb
    def retry(
        self, reactor: AnyReactor | None = None, stream: Streams = None, *, error: str | None = None,
        type: Type | None = None, reason: str = "", by: str = "", dry_run: bool = False,
    ) -> Program[ParkedRetried]:  # fmt: skip
        """Hands parked streams to the workers again, counting anew: all, or those that `list` would tell of.

        Raises when it is one stream that is named, and it is not parked.
        """
        engine = self._engine

        def op() -> Op[ParkedRetried]:
            rows = yield from _parked(engine, reactor, stream, error, type)
            if not dry_run:
                yield from engine.store.reserve([OPERATIONS])  # places in the log come before streams that wait
                rows = yield from engine.store.unpark(rows)
            if not rows and reactor is not None and isinstance(stream, str) and error is None and type is None:
                raise _not_parked(engine, reactor, stream)
            retried = ParkedRetried(by=by, reason=reason, streams=[*map(_at, rows)])
            if rows and not dry_run:
                yield from engine.store.append([told(engine, retried)])
            return retried

        retried: ParkedRetried = yield Transact(op(), reading=dry_run, anew=op)
        if not dry_run:
            yield Afterwards(committed(engine, ()))
        return retried

    @verb
    def skip(
        self, reactor: AnyReactor, stream: str, *, reason: str, seq: int | None = None, by: str = "",
        dry_run: bool = False,
    ) -> Program[ParkedSkipped]:  # fmt: skip
        """Gives up the message a stream is parked at; the ones behind it are handled.

        Raises when nothing is parked there, and with `seq` when it is no longer that message.
        """
        engine = self._engine

        def op() -> Op[ParkedSkipped]:
            rows = yield from _parked(engine, reactor, stream)
            if rows and seq not in (None, rows[0].from_seq):
                raise Conflict(stream, expected=seq or 0, actual=rows[0].from_seq)
            if not dry_run:
                yield from engine.store.reserve([OPERATIONS])
                rows = yield from engine.store.unpark(rows, skip=True)
            if not rows:
                raise _not_parked(engine, reactor, stream)
            at = _at(rows[0])
            skipped = ParkedSkipped(
                by=by, reason=reason, group=at.group, stream=stream, seq=at.seq, message_id=at.message_id,
                error=at.error,
            )  # fmt: skip
            if not dry_run:
                yield from engine.store.append([told(engine, skipped)])
            return skipped

        skipped: ParkedSkipped = yield Transact(op(), reading=dry_run, anew=op)
        if not dry_run:
            yield Afterwards(committed(engine, ()))
        return skipped


def _parked(
    engine: Engine, reactor: AnyReactor | None, stream: Streams, error: str | None = None, type: Type | None = None
) -> Op[list[Straggler]]:
    group = None if reactor is None else engine.router.group(reactor).group
    rows = yield from engine.store.stragglers(group)
    streams = {stream} if isinstance(stream, str) else None if stream is None else {*stream}
    parked = [
        row for row in rows
        if row.parked and (streams is None or row.stream in streams) and (error or "") in row.error
    ]  # fmt: skip
    if type is None or not parked:
        return parked
    names = (type,) if isinstance(type, str) else type.__sourced__.names
    found = yield from engine.store.histories([Range(row.stream, row.from_seq - 1, row.from_seq) for row in parked])
    return [row for row, records in zip(parked, found, strict=True) if any(r.type in names for r in records)]


def _not_parked(engine: Engine, reactor: AnyReactor, stream: str) -> NotKnown:
    group = engine.router.group(reactor).group
    return NotKnown(f"stream {stream!r} is not parked for group {group!r}; app.parked.list() tells what is")


def _at(row: Straggler) -> ParkedStream:
    return ParkedStream(row.group, row.stream, row.from_seq, row.message_id, row.error)
