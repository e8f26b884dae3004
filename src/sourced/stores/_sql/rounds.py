"""Rounds: leases on shards, what is pending in them, and where a round leaves them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from msgspec.structs import replace

from sourced.codec import Record
from sourced.errors import Fenced
from sourced.ops import Op, Statement
from sourced.store import SILENT, Claim, Group, Lease, Move, Pending, Straggler, Worker
from sourced.stores._sql.groups import STRAGGLERS, Groups
from sourced.stores._sql.standing import WANTED, quoted

WINDOW = 100_000  # so many positions one look goes through at most, wanted or not

DUE = "s.group_name = :group and not s.parked and (s.retry_at is null or s.retry_at <= :now)"
HELD = """
group_name = :group and shard in (
  select p.shard from {progress} p where p.group_name = :group and exists (
    select 1 from each(r: shard integer, lease bigint) where p.shard = r.shard and p.token = r.lease
  ) order by p.shard {lock})
"""  # in the order in which everybody takes them, so that nobody waits for somebody who waits for him
_RESET = "it was reset meanwhile"


class Rounds(Groups):
    def claim(
        self, group: str, owner: str, *, now: datetime, until: datetime, limit: int, most: int | None = None
    ) -> Op[Claim]:
        found = yield from self._group(group)
        if found is None or found.status != "active":
            return Claim(found or Group(group))
        rows = yield self.say(
            "claim",
            f"""
            with free as (
              select p.shard from {{progress}} p
              where p.group_name = :group and (p.owner = '' or p.owner = :owner or p.until <= :now) and (
                (select max(m.position) from {{messages}} m where m.shard = p.shard) > p.checkpoint
                or exists (select 1 from {{stragglers}} s where s.shard = p.shard and {DUE}))
              order by p.checkpoint, p.shard limit :room {{skip_locked}}
            )
            update {{progress}} set owner = :owner, until = :until, token = token + 1,
              careful = {{greatest}}(careful, open),
              open = {{greatest}}(1, :limit / {{greatest}}(1, (select count(*) from free)))
            where group_name = :group and shard in (select f.shard from free f)
            returning shard, token, checkpoint, high, careful
            """,
            group=group,
            owner=owner,
            now=now,
            until=until,
            limit=limit,
            room=limit if most is None else min(limit, most),
        )
        leases = tuple(Lease(*row) for row in sorted(rows))
        due = (yield from self._due(group, leases, now, limit)) if leases else []
        return Claim(found, leases, tuple(due))

    def _due(self, group: str, leases: Sequence[Lease], now: datetime, limit: int) -> Op[list[Straggler]]:
        """The stragglers of these shards whose time has come, with the attempt counted."""
        rows = yield self.say(
            "due stragglers",
            STRAGGLERS + f"where s.shard in :shards and {DUE} order by s.stream {{lock}}",
            group=group,
            now=now,
            shards=[lease.shard for lease in leases],
        )
        room = {lease.shard: 1 if lease.careful else limit for lease in leases}
        taken: list[Straggler] = []
        for each in self.read_stragglers(rows):
            shard = self.shard(each.stream)
            if room[shard]:
                room[shard] -= 1
                taken.append(replace(each, attempts=each.attempts + 1, holder=""))
        if taken:
            yield self.say(
                "count attempts",
                """
                update {stragglers} set attempts = attempts + 1, running = true, holder = ''
                where group_name = :group and stream in :streams
                """,
                group=group,
                streams=[each.stream for each in taken],
            )
        return taken

    def pending(self, group: str, leases: Sequence[Lease], types: Collection[str], limit: int) -> Op[Pending]:
        if not leases:
            return Pending((), {})
        share = max(1, limit // len(leases))
        rows = yield self.pending_rows(
            group, [(each.shard, each.checkpoint, 1 if each.careful else share) for each in leases], types
        )
        found: dict[int, list[Record]] = {each.shard: [] for each in leases}
        reached: dict[int, int] = {}
        for shard, upto, *columns in rows:
            reached[shard] = upto
            if columns[0] is not None:
                found[shard] += self.records([columns])
        scanned = {
            each.shard: found[each.shard][-1].position
            if len(found[each.shard]) == (1 if each.careful else share)
            else reached[each.shard]
            for each in leases
        }
        return Pending(tuple(record for each in leases for record in found[each.shard]), scanned)

    def pending_rows(self, group: str, shares: Sequence[tuple[int, int, int]], types: Collection[str]) -> Statement:
        """For each (shard, checkpoint, share) its next messages in order, every row led by the shard and
        by how far it was looked through; where there are none, one row of nothing but these two."""
        raise NotImplementedError

    def straggling(
        self, stragglers: Sequence[Straggler], types: Collection[str], upto: Mapping[int, int], limit: int
    ) -> Op[list[Sequence[Record]]]:
        asked = [(each, upto[self.shard(each.stream)]) for each in stragglers]
        return self.pieces((yield self.straggling_rows(asked, types, limit)), len(asked)) if asked else []

    def straggling_rows(self, asked: Sequence[tuple[Straggler, int]], types: Collection[str], limit: int) -> Statement:
        """For each straggler its next messages up to a position; every row ends with the straggler's number, from 1."""
        raise NotImplementedError

    def fence(self, claim: Claim) -> Op[None]:
        """Holds the shards' rows until the end of the transaction; a reset has raised their tokens."""
        name, leases = claim.group.name, {lease.shard: lease for lease in claim.leases}
        if not leases:
            ((epoch,),) = yield self.say("fence", "select g.epoch from {groups} g where g.name = :group", group=name)
            if epoch != claim.group.epoch:
                raise Fenced(name, _RESET)
            return
        rows = yield self.say(
            "fence",
            """
            select p.shard, p.token, (select g.epoch from {groups} g where g.name = p.group_name) from {progress} p
            where p.group_name = :group and p.shard in :shards order by p.shard {lock}
            """,
            group=name,
            shards=list(leases),
        )
        for shard, token, epoch in rows:
            if epoch != claim.group.epoch:
                raise Fenced(name, _RESET)
            if token != leases[shard].token:
                raise Fenced(name, f"the lease of shard {shard} went to somebody else")

    def hold_group(
        self, group: str, streams: Sequence[str], types: Collection[str]
    ) -> Op[tuple[Group, list[str]]]:  # fmt: skip
        """Each stream is handled in order, so its last message tells."""
        found = yield from self._group(group, "{share}")
        assert found is not None, group
        rows = yield self.say(
            "behind",
            f"""
            select r.stream from each(r: stream text, shard integer)
            join {{progress}} p on p.group_name = :group and p.shard = r.shard
            join {{messages}} m on m.stream = r.stream and m.seq = (
              select l.seq from {{messages}} l where l.stream = r.stream and l.type in :types
              order by l.seq desc limit 1)
            where m.position > :start and {WANTED} and (m.position > p.checkpoint or exists (
              select 1 from {{stragglers}} s
              where s.group_name = :group and s.stream = r.stream and s.from_seq <= m.seq))
            order by r.n
            """,
            group=group,
            types=types,
            settled=quoted(group),
            reset_at=found.reset_at,
            start=found.start,
            r=[(stream, self.shard(stream)) for stream in streams],
        )
        return found, [stream for (stream,) in rows]

    def renew(self, claim: Claim, until: datetime) -> Op[None]:
        yield self.tell(
            "renew",
            f"update {{progress}} set until = :until where owner <> '' and {HELD}",
            group=claim.group.name,
            until=until,
            r=[(each.shard, each.token) for each in claim.leases],
        )

    # -- workers

    def beat(self, worker: Worker) -> Op[None]:
        yield self.tell(
            "beat",
            """
            insert into {workers} (id, host, pid, rounds, started_at, beat_at, handled, busy)
            values (:id, :host, :pid, :rounds, :started_at, :beat_at, :handled, :busy)
            on conflict (id) do update set rounds = excluded.rounds, beat_at = excluded.beat_at,
              handled = excluded.handled, busy = excluded.busy
            """,
            id=worker.id,
            host=worker.host,
            pid=worker.pid,
            rounds=worker.rounds,
            started_at=worker.started_at,
            beat_at=worker.beat_at,
            handled=worker.handled,
            busy=worker.busy,
        )

        silent = worker.beat_at - SILENT
        yield self.tell("forget workers", "delete from {workers} where beat_at < :silent", silent=silent)

    def leave(self, worker_id: str) -> Op[None]:
        yield self.tell("leave", "delete from {workers} where id = :id", id=worker_id)

    def workers(self, since: datetime) -> Op[list[Worker]]:
        rows = yield self.say(
            "workers",
            """
            select w.id, w.host, w.pid, w.rounds, w.started_at, w.beat_at, w.handled, w.busy from {workers} w
            where w.beat_at >= :since order by w.started_at, w.id
            """,
            since=since,
        )
        time = self.dialect.time
        return [
            Worker(id, host, pid, rounds, time(started), time(beat), *sums)
            for id, host, pid, rounds, started, beat, *sums in rows
        ]

    def settle(self, group: str, moves: Sequence[Move], *, release: bool) -> Op[None]:
        freed = "owner = '', until = null," if release else ""
        yield self.tell(
            "settle",
            f"""
            update {{progress}} set {freed} open = 0, careful = r.careful,
              checkpoint = {{greatest}}(checkpoint, r.reached), high = {{greatest}}(high, r.handled)
            from each(r: shard integer, reached bigint, handled bigint, careful integer)
            where group_name = :group and {{progress}}.shard = r.shard
            """,
            group=group,
            r=[(each.shard, each.checkpoint, each.high, each.careful) for each in moves],
        )

    def release(self, claim: Claim) -> Op[None]:
        group = claim.group.name
        yield self.tell(
            "release",
            f"update {{progress}} set owner = '', until = null, open = 0 where {HELD}",
            group=group,
            r=[(each.shard, each.token) for each in claim.leases],
        )
        if claim.due:
            yield self.tell(
                "uncount attempts",
                """
                update {stragglers} set attempts = r.counted - 1, running = r.before
                from each(r: name text, start integer, counted integer, before boolean)
                where group_name = :group and stream = r.name and running
                  and from_seq = r.start and attempts = r.counted
                """,
                group=group,
                r=[(each.stream, each.from_seq, each.attempts, each.running) for each in claim.due],
            )
