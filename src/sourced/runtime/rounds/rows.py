"""The rows that a projector's round works on, and the slices that stand or fall together because they share some."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from sourced.actions import Action
from sourced.codec import Record
from sourced.errors import Conflict, ConnectionLost, Deadlocked
from sourced.ops import Call, Op
from sourced.projector import AnyRow, FoldMemo, Projector, Row, RowsMemo
from sourced.reactor import Delivery, Memo
from sourced.runtime.rounds.slice import Slice
from sourced.store import Store, ViewRow
from sourced.view import NOTHING


class Outdated(Conflict):
    """Somebody else has changed rows since they were loaded."""

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(keys[0], expected=0, actual=0)
        self.args = (f"rows were changed by somebody else meanwhile: {', '.join(keys)}",)


@dataclass(slots=True, eq=False)
class Bundle:
    """Slices that are stored together or not at all, and the rows their messages went into."""

    slices: list[Slice]
    rows: list[AnyRow] = field(default_factory=list)
    kept: Sequence[ViewRow] = ()  # what is to be written beside the log

    @property
    def done(self) -> int:
        return sum(one.done for one in self.slices)

    @property
    def simple(self) -> bool:
        first, *others = self.slices  # as a rule there are none
        return first.effects.simple and (not others or all(one.effects.simple for one in others))

    @property
    def settled(self) -> bool:
        first, *others = self.slices
        return first.settled and (not others or all(one.settled for one in others))


class Rows:
    """Of one projector, in one round."""

    def __init__(self, projector: Projector, store: Store) -> None:  # type: ignore[type-arg]
        self.projector = projector
        self.store = store
        self.keyed = projector._keyed
        self.shape = projector._shape
        self.rows: dict[str, Row] = {}

    def lend(self, memo: Memo) -> None:
        if isinstance(memo, RowsMemo):
            memo.rows = self.rows

    def part(self, memo: Memo) -> Rows:
        """What is needed of them for one stream that goes on by itself."""
        rows = Rows(self.projector, self.store)
        rows.rows = {key: row for key, row in self.rows.items() if key == memo.stream}
        rows.lend(memo)
        return rows

    # -- before messages are handled

    def in_order(self, slices: Iterable[Slice]) -> list[tuple[Slice, Delivery]]:
        """Who is handed what, in the order of the log."""
        turns = [(one, delivery) for one in slices for delivery in one.rest()]
        return sorted(turns, key=lambda turn: turn[1].message.position)

    @property
    def torn(self) -> bool:
        """A row that several streams share was left in doubt, and not by one that is still to be handled."""
        return self.keyed and any(row.batch.events and not (row.ready or row.error) for row in self.rows.values())

    def bring(self, wanted: Iterable[tuple[Memo, Iterable[Delivery]]]) -> Op[None]:
        """Every row that is needed as of the end of its batch: those kept beside the log in one statement."""
        for memo, deliveries in wanted:
            if isinstance(memo, RowsMemo):
                self._note(memo, deliveries)
        missing = [row for row in self.rows.values() if not (row.ready or row.error)]
        kept = (yield from self._kept(missing)) if self.shape or self.keyed else {}
        for row in missing:
            stored = kept.get(row.key)
            try:
                if self.shape is not None:
                    body = stored.body if stored else None  # of a place that was only held there is nothing to read
                    row.begin_with(None if body in (None, NOTHING) else self.shape.read(row.key, body))
                elif self.projector._loads:
                    row.begin_with((yield Call(partial(self.projector.load, row.key))))
                else:
                    row.begin_with(None)
            except (ConnectionLost, Deadlocked):
                raise
            except Exception as error:
                row.error = error

    def held(self, wanted: Iterable[tuple[Memo, Iterable[Delivery]]]) -> Op[None]:
        """The same for whoever has appended in this transaction: nobody else writes to these rows until its end."""
        yield from self.bring(wanted)
        while self.keyed:
            revisions = {row.key: row.revision for row in self.rows.values()}
            stale = (yield from self.store.hold_views(self.projector.group, revisions)) if revisions else []
            if not stale:
                break
            for key in stale:
                self.rows[key].ready = False
            yield from self.bring(())

    def _note(self, memo: RowsMemo, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            try:
                key = memo.key(delivery.message)
            except Exception:
                continue  # it is asked again when the message's turn has come, and fails then
            if key is not None and key not in self.rows:
                self.rows[key] = Row(self.projector, key)
            if not self.keyed:
                return

    def _kept(self, missing: Sequence[Row]) -> Op[dict[str, ViewRow]]:
        """Before any `load`: what that one finds is then as new as the revision, or newer."""
        kept = yield from self.store.views(self.projector.group, [row.key for row in missing])
        for row in missing:
            stored = kept.get(row.key)
            row.position, row.revision = (stored.position, stored.revision) if stored else (0, 0)
        return kept

    # -- after that

    def bundles(self, slices: Sequence[Slice]) -> list[Bundle]:
        """Slices with the rows they went into; those that share a row are one bundle."""
        if not self.keyed:
            return [Bundle([one], [*self._row_of(one)]) for one in slices]
        of_stream = {one.stream: Bundle([one]) for one in slices}
        for row in self.rows.values():
            streams = {message.stream for message in row.batch.events}
            if not streams:
                continue
            joined, *others = {id(of_stream[stream]): of_stream[stream] for stream in streams}.values()
            joined.rows.append(row)
            for other in others:
                joined.slices += other.slices
                joined.rows += other.rows
                of_stream.update((one.stream, joined) for one in other.slices)
        return list({id(bundle): bundle for bundle in of_stream.values()}.values())

    def _row_of(self, one: Slice) -> Iterator[AnyRow]:
        row = one.memo if isinstance(one.memo, FoldMemo) else self.rows.get(one.stream)
        if row is not None and row.batch.events:
            yield row

    def close(self, rows: Iterable[AnyRow], now: datetime) -> tuple[list[Action], list[ViewRow]]:
        """What the batches of rows ask for as a whole; and what becomes of those that are kept here."""
        actions: list[Action] = []
        kept: list[ViewRow] = []
        for row in rows:
            if row.error:
                raise row.error
            row.batch.deleted = row.fold.gone
            actions += self.projector.closing_with(row.fold.state, row.batch)
            if self.shape or self.keyed:
                kept.append(self._written(row, now))
        return actions, kept

    def _written(self, row: AnyRow, now: datetime) -> ViewRow:
        position = max(row.position, *(message.position for message in row.batch.events))
        if self.shape is None:
            return ViewRow(row.key, NOTHING, row.revision, position, now)
        body = None if row.batch.deleted else self.shape.write(row.key, row.fold.state)
        return ViewRow(row.key, body, row.revision, position, now)

    def settled(self, memos: Iterable[Memo], places: Mapping[str, Record], now: datetime) -> Op[list[Action]]:
        """Writes the rows of these streams, where others may have been faster until now; what else there is to do."""
        rows = [row for row in self.rows.values() if row.batch.events]
        for row in rows:
            row.batch.placed([places[message.id] for message in row.batch.events if message.id in places])
        actions, kept = self.close([*rows, *(memo for memo in memos if isinstance(memo, FoldMemo))], now)
        if revisions := {row.key: row.revision for row in rows if self.shape or self.keyed}:
            yield from self._hold(revisions)
        elif rows and self.projector._loads:
            for row in rows:
                row.ready = False
            yield from self.bring(())
            actions, _ = self.close(rows, now)
        if kept:
            yield from self.store.save_views(self.projector.group, kept)
        return actions

    def _hold(self, revisions: Mapping[str, int]) -> Op[None]:
        stale = yield from self.store.hold_views(self.projector.group, revisions)
        if stale:
            raise Outdated(stale)

    def hold(self, bundles: Iterable[Bundle]) -> Op[None]:
        """Rows that other rounds may write to as well; the others are nobody else's while their shard is leased."""
        if self.keyed and (revisions := {row.key: row.revision for row in kept_of(bundles)}):
            yield from self._hold(revisions)

    def forget(self, bundles: Iterable[Bundle]) -> None:
        """Their slices are to be handled anew, from the rows as they are by then."""
        self.rows.clear()
        for one in (one for bundle in bundles for one in bundle.slices if one.deferred is None):
            one.afresh()


def kept_of(bundles: Iterable[Bundle]) -> list[ViewRow]:
    """What these are to leave beside the log, as far as they are settled."""
    return [row for bundle in bundles if bundle.kept and bundle.settled for row in bundle.kept]
