"""Groups: which of their streams wait, and stop, start, reset."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from sourced.errors import Fenced
from sourced.ops import Op
from sourced.store import Group, Move, Snapshot, Straggler
from sourced.stores._sql.dialect import storable
from sourced.stores._sql.standing import Standing

STRAGGLER = (
    "group_name", "stream", "from_seq", "live_after", "attempts", "retry_at", "parked", "running", "error", "traceback",
    "reason", "message_id", "since", "holder",
)  # fmt: skip
STRAGGLERS = f"select {', '.join(f's.{column}' for column in STRAGGLER)} from {{stragglers}} s "
GROUPS = """
select g.name, g.status, g.start, g.epoch, g.reset_at, g.reason, g.error, g.stopped_by, g.stopped_at, g.view
from {groups} g
"""

_group: Any = Group
_straggler: Any = Straggler


class Groups(Standing):
    def register(self, group: str, start_from: Literal["beginning", "now"] | datetime) -> Op[Group]:
        found = yield from self._group(group)
        if found is None:
            start = yield from self._start(start_from)
            yield self.say(
                "register",
                "insert into {groups} (name, start, view) values (:group, :start, :group) on conflict do nothing",
                group=group,
                start=start,
            )
            yield self.register_shards(group)
            found = yield from self._group(group)
        assert found is not None
        return found

    def register_shards(self, group: str) -> Any:
        return self.say(
            "register its shards",
            """
            insert into {progress} (group_name, shard, checkpoint)
            select g.name, r.shard, g.start from each(r: shard integer) cross join {groups} g
            where g.name = :group on conflict do nothing
            """,
            group=group,
            r=[(shard,) for shard in range(self.shards)],
        )

    def _group(self, name: str, lock: str = "") -> Op[Group | None]:
        rows = yield self.say("group", GROUPS + "where g.name = :group " + lock, group=name)
        return self._read_groups(rows)[0] if rows else None

    def _read_groups(self, rows: Sequence[Any]) -> list[Group]:
        return [_group(*row[:8], self.maybe_time(row[8]), *row[9:]) for row in rows]

    def _start(self, start_from: Literal["beginning", "now"] | datetime) -> Op[int]:
        if start_from == "beginning":
            return 0
        if isinstance(start_from, datetime):
            rows = yield self.say(
                "first after a time",
                "select m.position - 1 from {messages} m where m.created_at > :time order by m.position limit 1",
                time=start_from,
            )
            if rows:
                return rows[0][0]
        ((last,),) = yield self.say("last", "select coalesce(max(m.position), 0) from {messages} m")
        return last

    def groups(self) -> Op[list[Group]]:
        rows = yield self.say("groups", GROUPS + "order by g.name")
        return self._read_groups(rows)

    def reinstate(self, group: Group, moves: Sequence[Move]) -> Op[None]:
        yield self.say(
            "reinstate",
            """
            insert into {groups} (name, status, start, epoch, reset_at, reason, error, stopped_by, stopped_at, view)
            values (:name, :status, :start, :epoch, :reset_at, :reason, :error, :by, :at, :view)
            on conflict (name) do update set status = excluded.status, start = excluded.start, epoch = excluded.epoch,
              reset_at = excluded.reset_at, reason = excluded.reason, error = excluded.error,
              stopped_by = excluded.stopped_by, stopped_at = excluded.stopped_at, view = excluded.view
            """,
            name=group.name,
            status=group.status,
            start=group.start,
            epoch=group.epoch,
            reset_at=group.reset_at,
            reason=storable(group.reason),
            error=storable(group.error),
            by=storable(group.stopped_by),
            at=group.stopped_at,
            view=group.view,
        )
        reached = {each.shard: (each.checkpoint, each.high, each.careful) for each in moves}
        yield self.say(
            "reinstate its shards",
            """
            insert into {progress} (group_name, shard, checkpoint, high, careful)
            select g.name, r.shard, r.reached, r.handled, r.careful
            from each(r: shard integer, reached bigint, handled bigint, careful integer)
            cross join {groups} g where g.name = :group
            on conflict (group_name, shard) do update set checkpoint = excluded.checkpoint, high = excluded.high,
              owner = '', until = null, token = {progress}.token + 1, open = 0, careful = excluded.careful
            """,
            group=group.name,
            r=[(shard, *reached.get(shard, (group.start, 0, 0))) for shard in range(self.shards)],
        )

    def stop(
        self, group: str, reason: str, error: str = "", *, by: str = "", at: datetime | None = None
    ) -> Op[Group]:  # fmt: skip
        before = yield from self._group(group, "{lock}")
        assert before is not None, group
        yield self.say(
            "stop",
            """
            update {groups} set status = 'stopped', reason = :reason, error = :error, stopped_by = :by, stopped_at = :at
            where name = :group and status = 'active'
            """,
            group=group,
            reason=storable(reason),
            error=storable(error),
            by=storable(by),
            at=at,
        )
        return before

    def start(self, group: str, now: datetime) -> Op[Group]:
        before = yield from self._held(group)
        yield self.say(
            "start",
            """
            update {groups} set status = 'active', reason = '', error = '', stopped_by = '', stopped_at = null
            where name = :group
            """,
            group=group,
        )
        yield self.say(
            "retry failed streams",
            """
            update {stragglers} set attempts = 0, retry_at = null, running = false, error = '', traceback = ''
            where group_name = :group and not parked and holder = ''
            """,
            group=group,
        )
        return before

    def _held(self, group: str) -> Op[Group]:
        """How the group stands, and stays until the end of the transaction."""
        yield self.hold_shards(group)
        found = yield from self._group(group, "{lock}")  # before its place in the log is looked at
        assert found is not None, group
        return found

    def hold_shards(self, group: str) -> Any:
        """First of all, as rounds do that settle: they come to their end before anything of theirs is touched."""
        return self.say(
            "hold shards", "select shard from {progress} where group_name = :group order by shard {lock}", group=group
        )

    def reset(self, group: str) -> Op[Group]:
        """The shards' tokens grow as well, which fences the rounds in flight and takes their leases."""
        before = yield from self._held(group)
        yield self.say(
            "reset group",
            """
            update {groups} set epoch = epoch + 1, reset_at = (select coalesce(max(m.position), 0) from {messages} m)
            where name = :group
            """,
            group=group,
        )
        yield self.say(
            "reset checkpoints",
            """
            update {progress} set checkpoint = (select g.start from {groups} g where g.name = :group),
              careful = 0, open = 0, owner = '', until = null, token = token + 1
            where group_name = :group
            """,
            group=group,
        )
        yield self.say(
            "reset stragglers",
            """
            update {stragglers} set from_seq = 1, attempts = 0, retry_at = null, parked = false, running = false,
              error = '', traceback = '', reason = '', message_id = '', since = null, holder = '',
              live_after = {greatest}(live_after, coalesce(
                (select m.position - 1 from {messages} m
                 where m.stream = {stragglers}.stream and m.seq = {stragglers}.from_seq),
                (select max(m.position) from {messages} m where m.stream = {stragglers}.stream),
                0))
            where group_name = :group
            """,
            group=group,
        )
        return before

    # -- streams that wait for themselves

    def stragglers(self, group: str | None = None) -> Op[list[Straggler]]:
        text = (
            STRAGGLERS + ("" if group is None else "where s.group_name = :group ") + "order by s.group_name, s.stream"
        )
        return self.read_stragglers((yield self.say("stragglers", text, **({} if group is None else {"group": group}))))

    def read_stragglers(self, rows: Sequence[Any]) -> list[Straggler]:
        return [
            _straggler(
                *row[:5],
                self.maybe_time(row[5]),
                bool(row[6]),
                bool(row[7]),
                *row[8:12],
                self.maybe_time(row[12]),
                row[13],
            )
            for row in rows
        ]

    def straggle(self, stragglers: Sequence[Straggler]) -> Op[None]:
        """In one order for everybody, so that two who write the same rows do not wait for each other."""
        if not stragglers:
            return
        rows = sorted(stragglers, key=lambda each: (each.group, each.stream))
        columns = ", ".join(STRAGGLER)
        known = ", ".join(f"{column} = excluded.{column}" for column in STRAGGLER[2:])
        yield self.tell(
            "straggle",
            f"""
            insert into {{stragglers}} (shard, {columns})
            select r.shard, {", ".join(f"r.{column}" for column in STRAGGLER)}
            from each(r: shard integer, group_name text, stream text, from_seq integer, live_after bigint,
              attempts integer, retry_at timestamptz, parked boolean, running boolean, error text, traceback text,
              reason text, message_id text, since timestamptz, holder text)
            where true on conflict (group_name, stream) do update set {known}
            """,
            r=[(self.shard(each.stream), *_values(each)) for each in rows],
        )

    def hold(self, straggler: Straggler) -> Op[None]:
        rows = yield self.say(
            "hold",
            "select s.holder from {stragglers} s where s.group_name = :group and s.stream = :stream {lock}",
            group=straggler.group,
            stream=straggler.stream,
        )
        if [row[0] for row in rows] != [straggler.holder]:
            raise Fenced(straggler.group, f"stream {straggler.stream!r} went to somebody else")

    def catch_up(self, group: str, streams: Sequence[str]) -> Op[None]:
        yield self.tell(
            "catch up",
            "delete from {stragglers} where group_name = :group and stream in :streams",
            group=group,
            streams=streams,
        )

    def unpark(self, seen: Sequence[Straggler], *, skip: bool = False) -> Op[list[Straggler]]:
        """Held first, in one order for everybody: whoever waits for one looks again at what became of it."""
        still = yield self.say(
            "hold parked streams",
            STRAGGLERS
            + """
            where s.parked and (s.group_name, s.stream, s.from_seq, s.attempts) in (
              select r.whose, r.name, r.seq, r.tries
              from each(r: whose text, name text, seq integer, tries integer)
            ) order by s.group_name, s.stream {lock}
            """,
            r=[(each.group, each.stream, each.from_seq, each.attempts) for each in seen],
        )
        found = self.read_stragglers(still)
        place = "from_seq = from_seq + 1, message_id = '', since = null," if skip else ""
        yield self.say(
            "unpark",
            f"""
            update {{stragglers}} set {place} parked = false, running = false, attempts = 0, retry_at = null,
              error = '', traceback = '', reason = '', holder = ''
            from each(r: whose text, name text) where group_name = r.whose and stream = r.name
            """,
            r=[(each.group, each.stream) for each in found],
        )
        return found

    # -- snapshots

    def save_snapshot(self, snapshot: Snapshot, keep: int = 1) -> Op[None]:
        yield self.say(
            "save snapshot",
            """
            insert into {snapshots} (group_name, stream, seq, state, fingerprint)
            values (:group, :stream, :seq, :state, :fingerprint)
            on conflict (group_name, stream, seq)
            do update set state = excluded.state, fingerprint = excluded.fingerprint
            """,
            group=snapshot.group,
            stream=snapshot.stream,
            seq=snapshot.seq,
            state=snapshot.state,
            fingerprint=snapshot.fingerprint,
        )
        yield self.say(
            "drop old snapshots",
            """
            delete from {snapshots} where group_name = :group and stream = :stream and seq not in (
              select s.seq from {snapshots} s where s.group_name = :group and s.stream = :stream
              order by s.seq desc limit :keep)
            """,
            group=snapshot.group,
            stream=snapshot.stream,
            keep=keep,
        )

    def snapshots(self, group: str, streams: Sequence[str]) -> Op[dict[str, Snapshot]]:
        rows = yield self.say(
            "snapshots",
            """
            select s.group_name, s.stream, s.seq, s.state, s.fingerprint from {snapshots} s
            where s.group_name = :group and s.stream in :streams and not exists (
              select 1 from {snapshots} newer
              where newer.group_name = s.group_name and newer.stream = s.stream and newer.seq > s.seq)
            """,
            group=group,
            streams=streams,
        )
        return {row[1]: Snapshot(*row) for row in rows}


def _values(row: Straggler) -> tuple[Any, ...]:
    return (
        row.group, row.stream, row.from_seq, row.live_after, row.attempts, row.retry_at, row.parked, row.running,
        storable(row.error), storable(row.traceback), storable(row.reason), row.message_id, row.since,
        storable(row.holder),
    )  # fmt: skip
