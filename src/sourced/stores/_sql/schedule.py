"""Messages that wait for their time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import msgspec

from sourced.codec import Record
from sourced.ops import Op
from sourced.store import Entry, Scheduled
from sourced.stores._sql.base import ALL, Tables
from sourced.stores._sql.dialect import own_values, settled

SCHEDULED = """
select s.id, s.stream, s.type, s.version, s.payload, s.metadata, s.causation_id, s.correlation_id, s.created_at,
  s.settled_by, s.due_at, s.error from {scheduled} s
"""

_THESE = "s.id in :ids"
_AFTER = """
(s.due_at, s.ordinal) > (:at, coalesce((select l.ordinal from {scheduled} l where l.id = :last and l.due_at = :at), 0))
"""

_record: Any = Record


class Schedule(Tables):
    def schedule(self, scheduled: Sequence[Scheduled]) -> Op[None]:
        yield self.tell(
            "schedule",
            """
            insert into {scheduled} (due_at, stream, id, type, version, payload, metadata, causation_id, correlation_id,
              created_at, settled_by)
            select r.due_at, r.stream, r.id, r.type, r.version, r.payload, r.metadata, r.causation_id, r.correlation_id,
              r.created_at, r.settled_by
            from each(r: due_at timestamptz, stream text, id text, type text, version integer, payload text,
              metadata text, causation_id text, correlation_id text, created_at timestamptz, settled_by text)
            where true order by r.n on conflict do nothing
            """,
            r=[(each.at, *own_values(each.record)) for each in scheduled],
        )

    def promote(self, now: datetime, limit: int = 100) -> Op[list[Record]]:
        """Rows that another promoter has in hand are left to it, and what comes after them in their streams."""
        behind_others: set[str] = set()
        while due := self.read_scheduled((yield self._due_now(now, limit, behind_others))):
            if self.dialect.words["skip_locked"] and (held := (yield from self._behind_others(due))):
                due = [each for each in due if each.record.id not in held]
                behind_others.update(held.values())
            entries: list[Entry] = []
            for each in due:
                try:
                    entries.append(Entry(each.record.stream, (each.promoted(now),)))
                except msgspec.MsgspecError as error:
                    yield self._set_aside(each, str(error))
            outcomes = yield from self.append(entries)
            yield from self.cancel([entry.records[0].id for entry in entries])
            if records := [record for outcome in outcomes if isinstance(outcome, tuple) for record in outcome]:
                return records
        return []

    def _due_now(self, now: datetime, limit: int, behind_others: Collection[str]) -> Any:
        text = """
        where s.due_at <= :now and s.error = '' and not (s.stream in :behind_others)
        order by s.due_at, s.ordinal limit :limit {skip_locked}
        """
        return self.say("due", SCHEDULED + text, now=now, limit=limit, behind_others=sorted(behind_others))

    def _behind_others(self, due: Sequence[Scheduled]) -> Op[dict[str, str]]:
        """Those before which there is one of their stream that somebody else is about to store, and their streams.

        Whatever is still in line, up to the last of these, and is none of them, is in somebody else's hand.
        """
        text = """
        select s.stream, s.id from {scheduled} s where s.error = '' and s.due_at <= :at
          and (s.due_at, s.ordinal) <= (select l.due_at, l.ordinal from {scheduled} l where l.id = :last)
        order by s.due_at, s.ordinal
        """
        rows = yield self.say("in line", text, at=due[-1].at, last=due[-1].record.id)
        mine, theirs, held = {each.record.id for each in due}, set[str](), dict[str, str]()
        for stream, message_id in rows:
            if message_id not in mine:
                theirs.add(stream)
            elif stream in theirs:
                held[message_id] = stream
        return held

    def _set_aside(self, scheduled: Scheduled, error: str) -> Any:
        text = "update {scheduled} set error = :error where id = :id"
        return self.say("set aside", text, error=error, id=scheduled.record.id)

    def scheduled(
        self, ids: Collection[str] | None = None, *, after: tuple[datetime, str] | None = None, limit: int | None = None
    ) -> Op[list[Scheduled]]:
        wanted = [_THESE] * (ids is not None) + [_AFTER] * (after is not None)
        values: dict[str, Any] = {} if ids is None else {"ids": sorted(ids)}
        values |= {"at": after[0], "last": after[1]} if after else {}
        where = f"where {' and '.join(wanted)}" if wanted else ""
        text = f"{SCHEDULED} {where} order by s.due_at, s.ordinal limit :limit"
        return self.read_scheduled((yield self.say("scheduled", text, limit=ALL if limit is None else limit, **values)))

    def count_scheduled(self, until: datetime | None = None, *, aside: bool = False) -> Op[int]:
        wanted = ["s.due_at <= :until"] * (until is not None) + ["s.error <> ''"] * aside
        where = f"where {' and '.join(wanted)}" if wanted else ""
        values = {} if until is None else {"until": until}
        ((count,),) = yield self.say("count scheduled", f"select count(*) from {{scheduled}} s {where}", **values)
        return count

    def read_scheduled(self, rows: Sequence[Any]) -> list[Scheduled]:
        time = self.dialect.time
        return [
            Scheduled(_record(row[0], row[1], 0, 0, *row[2:8], time(row[8]), settled(row[9])), time(row[10]), row[11])
            for row in rows
        ]

    def cancel(self, message_ids: Sequence[str]) -> Op[list[str]]:
        rows = yield self.say(
            "cancel", "delete from {scheduled} where id in :ids returning id", ids=list(dict.fromkeys(message_ids))
        )
        gone = {row[0] for row in rows}
        return [each for each in dict.fromkeys(message_ids) if each in gone]
