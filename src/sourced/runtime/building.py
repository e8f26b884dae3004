"""A round of a rebuild: it goes no further than the live group has come, and nothing but rows is changed by it.

Where nobody looks at single messages, all that a stream got is folded into its row at once. Whatever goes wrong there
is done again message by message, so that the one to blame is found.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from sourced.codec import Record
from sourced.envelope import Message
from sourced.errors import Fenced
from sourced.fold import Fold
from sourced.ops import Op
from sourced.projector import Projector
from sourced.runtime import seams
from sourced.runtime.engine import Engine, log
from sourced.runtime.programs import Program, Transact
from sourced.runtime.rounds.round import Round
from sourced.runtime.rounds.rows import Bundle
from sourced.runtime.rounds.slice import Slice
from sourced.store import Claim, Move, Pending, Straggler, ViewRow
from sourced.view import NOTHING

NEVER = datetime(9999, 1, 1, tzinfo=UTC)  # what is put off is nobody's to retry: it is looked for at the exchange
AHEAD = 2**62  # beyond every position
AT_ONCE = 10  # times as many messages in a round as in one of the live group
AT_ONCE_OF_YOURS = 4  # where each row is loaded by itself, however long that takes


class Site:
    """What is built: by whom, beside which live one, and where it came to a stop."""

    def __init__(
        self, engine: Engine, live: Projector[Any], other: Projector[Any], owner: str, *, after_commit: bool
    ) -> None:  # fmt: skip
        self.engine = engine
        self.store = engine.store
        self.live = live
        self.other = other
        self.owner = owner
        self.after_commit = after_commit
        self.failed_at: Message[Any] | None = None


class Building(Round):
    """A round of the new one."""

    def __init__(self, site: Site) -> None:
        super().__init__(site.engine, site.other, site.owner, raise_errors=True)
        if not site.other.batch_size:  # nobody waits for any one of them, and a row is written once a round
            self.limit *= AT_ONCE if site.other._shape else AT_ONCE_OF_YOURS
        self.site = site
        self.live = site.live.group
        self.put_off: dict[str, Record] = {}  # stream → the first message that the live one has not handled
        self.given: Claim | None = None  # that it goes on with, message by message

    def program(self) -> Program[int | None]:
        if not is_plain(self.site.other):
            return (yield from super().program())
        claim: Claim = yield Transact(self.claim())
        self.given = claim
        if claim.due or any(lease.careful for lease in claim.leases) or not claim.leases:
            return (yield from super().program())
        try:
            rows: list[ViewRow] = yield Transact(self.folded(claim), reading=True)
        except Exception as error:
            log.info("%s: message by message, since %r", self.reactor.group, error)
            return (yield from super().program())
        except (KeyboardInterrupt, asyncio.CancelledError):
            yield Transact(self.give_back(claim))
            raise
        try:
            yield Transact(self.put(claim, rows))
        except Fenced as fenced:
            seams.lease_lost(self.engine, fenced, self.owner)
            yield Transact(self.give_back(claim))
            return 0
        except (Exception, KeyboardInterrupt, asyncio.CancelledError):
            yield Transact(self.give_back(claim))
            raise
        self.breadth.learn(len(claim.leases), self.handled, self.limit)
        return self.handled

    def claim(self) -> Op[Claim]:
        if self.given is not None:
            return self.given
        return (yield from super().claim())

    def folded(self, claim: Claim) -> Op[list[ViewRow]]:
        """The rows, with everything in them that these shards have for them."""
        projector, shape, group = self.site.other, self.site.other._shape, self.reactor.group
        assert shape is not None
        pending = yield from self.pending(claim)
        self.scanned, self.handled = dict(pending.scanned), len(pending.records)
        self.high = {self.shard(record.stream): record.position for record in pending.records}
        streams: dict[str, list[Record]] = {}
        for record in pending.records:
            streams.setdefault(record.stream, []).append(record)
        there = yield from self.store.views(group, [*streams])
        rows: list[ViewRow] = []
        for stream, records in streams.items():
            fold: Fold[Any] = Fold(projector, stream)
            known = there.get(stream)
            if known is not None:
                fold.state = shape.read(stream, known.body or NOTHING)
            fold.feed(records, self.engine.codec)
            body = None if fold.gone else shape.write(stream, fold.state)
            position = max(records[-1].position, known.position if known else 0)
            rows.append(ViewRow(stream, body, known.revision if known else 0, position, self.now))
        return rows

    def put(self, claim: Claim, rows: list[ViewRow]) -> Op[None]:
        group = self.reactor.group
        yield from self.store.fence(claim)
        if rows:
            yield from self.store.save_views(group, rows)
        moves = [Move(n.shard, self.scanned[n.shard], self.high.get(n.shard, 0)) for n in claim.leases]
        yield from self.store.settle(group, moves, release=True)
        yield from self.store.straggle(self.waiting())

    def pending(self, claim: Claim) -> Op[Pending]:
        """What comes after a message the live one has yet to get to waits with its shard; behind one that waits there,
        with its stream."""
        found = yield from super().pending(claim)
        come = yield from self.store.places(self.live)
        waiting = {each.stream: each for each in (yield from self.store.stragglers(self.live))}
        scanned, records = dict(found.scanned), list[Record]()
        cut: set[int] = set()
        for record in found.records:
            shard = self.shard(record.stream)
            if shard in cut or record.stream in self.put_off:
                continue
            there = waiting.get(record.stream)
            if there is not None and not (record.seq < there.from_seq or record.position <= there.live_after):
                self.put_off[record.stream] = record
            elif there is None and record.position > come[shard].handled and self.live not in record.settled_by:
                cut.add(shard)
                scanned[shard] = record.position - 1
            else:
                records.append(record)
        self.put_off = {s: r for s, r in self.put_off.items() if r.position <= scanned[self.shard(s)]}
        return Pending(tuple(records), scanned)

    def deliver(self, one: Slice, record: Record, handled_before: int) -> None:
        super().deliver(one, record, AHEAD)

    def close(self, bundle: Bundle) -> None:
        super().close(bundle)
        if not self.site.after_commit:
            for one in bundle.slices:
                one.effects.after = ()

    def failed(self, one: Slice, error: BaseException, *, overtaken: int = 0) -> None:
        self.site.failed_at = one.deliveries[one.done].message
        super().failed(one, error, overtaken=overtaken)

    def unsettled(self, bundle: Bundle, error: Exception) -> None:
        one = bundle.slices[0]
        self.site.failed_at = one.deliveries[one.done - 1].message  # or one before it
        super().unsettled(bundle, error)

    def settlement(self, claim: Claim, slices: list[Slice], bundles: list[Bundle]) -> Op[None]:
        yield from super().settlement(claim, slices, bundles)
        yield from self.store.straggle(self.waiting())

    def waiting(self) -> list[Straggler]:
        group = self.reactor.group
        return [Straggler(group, stream, record.seq, retry_at=NEVER) for stream, record in self.put_off.items()]


def is_plain(projector: Projector[Any]) -> bool:
    """All it does with a message is to evolve the row of its stream, and nobody is told of rows that are stored."""
    ours = all(getattr(type(projector), name) is getattr(Projector, name) for name in ("memo", "handle", "closing"))
    told = projector.tables.sync or projector.tables.after_commit
    return ours and not (told or projector._keyed or projector._shape is None or projector.batch_size)
