"""Transactions: what every op takes part in, whole or not at all."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from sourced.errors import Conflict, DefinitionError
from sourced.ops import Call, Op, run, run_async, savepoint
from sourced.store import Group, Move, Range, Snapshot, Straggler, ViewRow, shard_of
from sourced.testing.conformance.bench import Bench, Broken, at, breaking, entry, kept, refused, scheduled
from sourced.testing.faults import Crash


class Transactions(Bench):
    def prepare(self) -> None:
        """Something of everything is there."""
        self.register()
        self.put("s", 2)
        self.put("waiting", 1)
        self.straggle("waiting")
        self.straggle("s", 2, parked=True)
        self.do(self.store.schedule([scheduled("s", 1), scheduled("s", 100)]))
        self.do(self.store.save_snapshot(Snapshot("g", "s", 1, "{}", "f")))
        self.do(self.store.save_views("g", [ViewRow("s", "{}"), ViewRow("gone", "{}")]))
        self.work_off(limit=1)

    def busy(self) -> Op[None]:
        """Changes everything that can be changed, so that whatever is not undone will show."""
        store = self.store
        yield from store.append([entry("s", 2), entry("new", 3), entry("s", 1, expected_seq=0)])
        yield from store.register("other", "now")
        yield from store.stop("g", "tidying up", "Error: none")
        yield from store.start("g", at(0))
        claim = yield from store.claim("g", "busy", now=at(0), until=at(30), limit=100)
        pending = yield from store.pending("g", claim.leases, {"thing.done"}, 100)
        moves = [Move(shard, position, position, 1) for shard, position in pending.scanned.items()]
        yield from store.settle("g", moves, release=False)
        yield from store.release(claim)
        yield from store.straggle([Straggler("g", "s", 1, attempts=2), Straggler("g", "new", 1)])
        yield from store.catch_up("g", ["waiting"])
        yield from store.unpark([s for s in (yield from store.stragglers()) if s.parked], skip=True)
        yield from store.reinstate(Group("elsewhere", epoch=1), [Move(0, 1, 1)])
        yield from store.reset("g")
        yield from store.schedule([scheduled("s", 5), scheduled("later", 60)])
        yield from store.promote(at(10))
        yield from store.cancel([each.record.id for each in (yield from store.scheduled())])
        yield from store.save_snapshot(Snapshot("g", "s", 2, "{}", "f"))
        yield from store.save_views("g", [ViewRow("s", '{"n":1}'), ViewRow("new", "{}"), ViewRow("gone", None)])

    # -- all or nothing

    def test_transaction_keeps_what_was_done_in_it(self) -> None:
        self.prepare()
        before = self.everything()
        self.do(self.busy())
        after = self.everything()
        assert not [what for what in before if before[what] == after[what]], "expected the busy op to change all of it"

    def test_transaction_that_raises_leaves_nothing_of_itself(self) -> None:
        """D70, D71. Messages, groups, leases, stragglers, schedule, snapshots; and the error reaches the caller."""
        self.prepare()
        before = self.everything()
        with refused(Broken):
            self.do(breaking(self.busy()))
        assert self.everything() == before

    def test_transaction_that_raised_leaves_nobody_behind_whom_others_would_wait(self) -> None:
        """Its leases are free, and its seqs are given again."""
        self.prepare()
        (stored,) = self.put("s")
        with refused(Broken):
            self.do(breaking(self.busy()))
        assert self.put("s")[0].seq == stored.seq + 1
        assert self.shard("s") in {lease.shard for lease in self.claim("somebody else").leases}

    def test_transaction_that_a_process_dies_in_leaves_nothing_of_itself(self) -> None:
        """A `BaseException` is no reason to commit."""
        self.prepare()
        before = self.everything()

        def dying() -> Op[None]:
            yield from self.busy()
            raise Crash

        with refused(Crash):
            self.do(dying())
        assert self.everything() == before

    def test_transaction_sees_what_it_has_done_itself(self) -> None:
        def op() -> Op[None]:
            (outcome,) = yield from self.store.append([entry("s", 2)])
            (found,) = yield from self.store.histories([Range("s")])
            assert list(found) == list(kept(outcome))
            (again,) = yield from self.store.append([entry("s", 1, expected_seq=2)])
            assert kept(again)[0].seq == 3
            assert len((yield from self.store.trace(kept(outcome)[0].id))) == 1
            assert (yield from self.store.extent()) == (1, kept(again)[0].position)

        self.do(op())

    def test_transaction_goes_on_after_a_conflict(self) -> None:
        """An outcome is an answer, not an error: what else the transaction does is kept."""

        def op() -> Op[Any]:
            (refusal,) = yield from self.store.append([entry("s", 1, expected_seq=9)])
            yield from self.store.append([entry("t", 1)])
            return refusal

        assert isinstance(self.do(op()), Conflict)
        assert len(self.history("t")) == 1

    def test_moment_sees_the_store_as_it_was_however_long_it_takes(self) -> None:
        """Others write meanwhile, or wait for its end."""
        self.register()
        self.put("s", 2)
        writer = threading.Thread(target=lambda: self.store.commit([entry("s", 1), entry("t", 1)]))
        with self.store.moment() as connection:
            before = run(self.store.read_all(), connection)
            writer.start()
            writer.join(10 if self.store.capabilities.shared else 0.2)
            assert run(self.store.read_all(), connection) == before
            assert run(self.store.count(), connection) == 2
            assert len(run(self.store.progress("g"), connection)) == 1
        writer.join(10)
        assert self.do(self.store.count()) == 4

    # -- savepoints

    def test_transaction_undoes_a_savepoint_that_raised_and_nothing_else(self) -> None:
        self.prepare()
        before = self.everything()

        def op() -> Op[list[Any]]:
            yield from self.store.append([entry("before", 1)])
            so_far = yield from self.store.read_all()
            with refused(Broken):
                yield from savepoint(breaking(self.busy()))
            assert (yield from self.store.read_all()) == so_far
            yield from self.store.append([entry("after", 1, expected_seq=0)])
            return so_far

        so_far = self.do(op())
        assert self.do(self.store.read_all())[:-1] == so_far
        assert len(self.history("before")) == len(self.history("after")) == 1
        after = self.everything()
        assert [after[name] for name in before if "stragglers" in name] == [
            before[name] for name in before if "stragglers" in name
        ]

    def test_transaction_keeps_what_a_savepoint_has_done_only_if_it_goes_well_itself(self) -> None:
        self.do(savepoint(self.store.append([entry("kept", 1)])))
        with refused(Broken):
            self.do(breaking(savepoint(self.store.append([entry("undone", 1)]))))
        assert [r.stream for r in self.do(self.store.read_all())] == ["kept"]

    def test_transaction_may_nest_savepoints(self) -> None:
        def inner() -> Op[None]:
            yield from self.store.append([entry("inner", 1)])
            raise Broken

        def outer() -> Op[None]:
            yield from self.store.append([entry("outer", 1)])
            with refused(Broken):
                yield from savepoint(inner())
            yield from self.store.append([entry("outer", 1)])

        def op() -> Op[None]:
            yield from savepoint(outer())
            with refused(Broken):
                yield from savepoint(breaking(outer()))

        self.do(op())
        assert [(r.stream, r.seq) for r in self.do(self.store.read_all())] == [("outer", 1), ("outer", 2)]

    # -- the caller's own code

    def test_transaction_is_handed_to_the_code_that_runs_in_it(self) -> None:
        handed: list[Any] = []

        def op() -> Op[None]:
            yield Call(handed.append)
            yield Call(handed.append)

        self.do(op())
        first, second = handed
        assert first is not None
        assert first is second

    def test_transaction_fails_with_the_code_that_runs_in_it(self) -> None:
        def fail(_: Any) -> None:
            raise Broken

        def op() -> Op[None]:
            yield from self.store.append([entry("s", 1)])
            yield Call(fail)

        with refused(Broken):
            self.do(op())
        assert self.history("s") == []

    # -- the store itself

    def test_transaction_async_is_another_door_to_the_same_store(self) -> None:
        async def awaited(op: Op[Any]) -> Any:
            async with self.store.transaction_async() as connection:
                return await run_async(op, connection)

        def called(op: Op[Any]) -> Any:
            with self.store.transaction() as connection:
                return run(op, connection)

        async def through_both() -> None:
            (first,) = await awaited(self.store.append([entry("s", 1)]))
            (second,) = called(self.store.append([entry("s", 1)]))
            with refused(Broken):
                await awaited(breaking(self.store.append([entry("s", 1)])))
            assert called(self.store.read_all()) == [*kept(first), *kept(second)]
            assert await awaited(self.store.read_all()) == [*kept(first), *kept(second)]

        asyncio.run(through_both())

    def test_close_may_be_called_more_than_once(self) -> None:
        self.put("s")
        self.store.close()
        self.store.close()

    def test_shards_are_the_same_in_every_process_and_for_ever(self) -> None:
        """Checkpoints mean nothing once a stream hashes to another shard."""
        assert [shard_of(name, 64) for name in ("cart-1", "żółw", "")] == [36, 30, 0]
        assert self.store.shards >= 1

    def test_capabilities_are_said(self) -> None:
        assert isinstance(self.store.capabilities.durable, bool)
        assert isinstance(self.store.capabilities.shared, bool)
        assert isinstance(self.store.capabilities.concurrent, bool)

    def test_migrate_finds_nothing_to_do_when_it_was_done_and_changes_nothing(self) -> None:
        (stored,) = self.put("s")
        self.store.migrate()
        assert self.store.migrate() == []
        assert self.history() == [stored]

    def test_migrate_async_does_the_same(self) -> None:
        self.store.migrate()
        assert asyncio.run(self.store.migrate_async()) == []

    # -- transactions that are the caller's

    def test_joined_refuses_what_is_no_connection_to_its_database(self) -> None:
        for reading in (True, False):
            with refused(DefinitionError):
                self.store.joined(object(), reading=reading)

    def test_joined_async_refuses_it_as_well(self) -> None:
        with refused(DefinitionError):
            asyncio.run(self._join(object()))

    async def _join(self, connection: object) -> None:
        await self.store.joined_async(connection, reading=False)
