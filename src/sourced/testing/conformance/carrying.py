"""The ways to carry work out: one op in a transaction of its own, commits that share one, places taken beforehand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from sourced.errors import Conflict, Duplicate, Fenced, InTransaction
from sourced.notifier import Relay, Types
from sourced.ops import Op, run, run_async
from sourced.store import Claim, Entry, Outcome, Range
from sourced.testing.conformance.bench import TYPES, Bench, Broken, at, breaking, entry, kept, record, refused

PATIENCE = 60.0  # seconds: what has not been heard by then never will


class Carrying(Bench):
    def test_transact_carries_out_an_op_whole_or_not_at_all(self) -> None:
        """D71. A promise to only read changes nothing about the answer."""
        store = self.store
        (stored,) = store.transact(store.append([entry("s", 2)]))
        with refused(Broken):
            store.transact(breaking(store.append([entry("s", 1)])))
        assert store.transact(store.histories([Range("s")]), reading=True) == [[*kept(stored)]]

    def test_transact_async_carries_out_an_op_whole_or_not_at_all(self) -> None:
        """D71."""
        store = self.store

        async def work() -> list[Any]:
            (stored,) = await store.transact_async(store.append([entry("s", 2)]))
            with refused(Broken):
                await store.transact_async(breaking(store.append([entry("s", 1)])))
            return [stored, await store.transact_async(store.histories([Range("s")]), reading=True)]

        stored, found = asyncio.run(work())
        assert found == [[*stored]]

    def test_transaction_for_reading_sees_what_was_committed(self) -> None:
        stored = self.put("s", 2)
        with self.store.transaction(reading=True) as connection:
            assert run(self.store.histories([Range("s")]), connection) == [[*stored]]

    # -- commit

    def commits(self, batches: Sequence[Sequence[Entry]]) -> list[list[Outcome]]:
        """All at the same time, each by a thread of its own."""
        with ThreadPoolExecutor(len(batches)) as threads:
            return list(threads.map(self.store.commit, batches))

    def commits_async(self, batches: Sequence[Sequence[Entry]]) -> list[list[Outcome]]:
        async def all_of_them() -> list[list[Outcome]]:
            return await asyncio.gather(*(self.store.commit_async(batch) for batch in batches))

        return asyncio.run(all_of_them())

    def test_commit_by_32_at_once_gives_each_an_outcome_of_its_own(self) -> None:
        """D65."""
        self.everybody_gets_an_answer(self.commits)

    def test_commit_async_by_32_at_once_gives_each_an_outcome_of_its_own(self) -> None:
        """D65."""
        self.everybody_gets_an_answer(self.commits_async)

    def everybody_gets_an_answer(self, commits: Callable[[Sequence[Sequence[Entry]]], list[list[Outcome]]]) -> None:
        """Of those who expect the same place one is let through, of those who bring one id one stores it; the others
        are all there, in order, next to each other."""
        known = record("twice")
        batches: list[list[Entry]] = []
        for number in range(8):
            batches.append([entry("many", 2), entry(f"own-{number}", 1, expected_seq=0)])
            batches.append([entry("first", 1, expected_seq=0)])
            batches.append([Entry("twice", (known,))])
            batches.append([entry("many", 1), entry("first", 1, expected_seq=7)])
        outcomes = commits(batches)
        pairs, firsts, ids, singles = (outcomes[start::4] for start in range(4))
        seqs = [[r.seq for r in kept(answer)] for answer, _ in pairs]
        assert all(two == one + 1 for one, two in seqs)
        seqs += [[r.seq for r in kept(answer)] for answer, _ in singles]
        assert sorted(seq for each in seqs for seq in each) == list(range(1, 25))
        assert all([r.seq for r in kept(own)] == [1] for _, own in pairs)
        assert all(isinstance(answer, Conflict) for _, answer in singles)
        assert sorted(type(answer).__name__ for (answer,) in firsts) == ["Conflict"] * 7 + ["tuple"]
        assert sorted(type(answer).__name__ for (answer,) in ids) == ["Duplicate"] * 7 + ["tuple"]
        (winner,) = (answer for (answer,) in ids if isinstance(answer, tuple))
        assert all(answer.records == winner for (answer,) in ids if isinstance(answer, Duplicate))
        assert [r.seq for r in self.history("many")] == list(range(1, 25))

    def test_commit_of_nothing_stores_nothing(self) -> None:
        assert self.store.commit([]) == []
        assert self.store.commit([Entry("s", ())]) == [()]
        assert self.do(self.store.extent()) == (0, 0)

    # -- nobody waits for himself

    def test_commit_inside_a_transaction_is_refused_instead_of_waiting_for_its_end(self) -> None:
        """Another transaction is as well; whoever opened this one is to use what he was handed."""
        store = self.store
        with store.transaction() as connection:
            run(store.append([entry("s", 1)]), connection)
            with refused(InTransaction):
                store.commit([entry("s", 1)])
            with refused(InTransaction):
                store.transact(store.append([entry("s", 1)]))
            with refused(InTransaction):
                asyncio.run(store.commit_async([entry("s", 1)]))
            with refused(InTransaction):
                asyncio.run(store.transact_async(store.append([entry("s", 1)])))
        assert len(self.history("s")) == 1

    def test_commit_async_inside_a_transaction_is_refused_instead_of_waiting_for_its_end(self) -> None:
        store = self.store

        async def work() -> None:
            async with store.transaction_async() as connection:
                await run_async(store.append([entry("s", 1)]), connection)
                with refused(InTransaction):
                    await store.commit_async([entry("s", 1)])
                with refused(InTransaction):
                    await store.transact_async(store.append([entry("s", 1)]))
                with refused(InTransaction):
                    store.commit([entry("s", 1)])

        asyncio.run(work())
        assert len(self.history("s")) == 1

    def test_commit_that_would_block_the_loop_on_which_a_transaction_is_open_is_refused(self) -> None:
        """It would hold up the very task it waits for. To await it is right."""
        store = self.store

        async def hold(appended: asyncio.Event, refused_all: asyncio.Event) -> None:
            async with store.transaction_async() as connection:
                await run_async(store.append([entry("s", 1)]), connection)
                appended.set()
                await refused_all.wait()

        async def work() -> None:
            appended, refused_all = asyncio.Event(), asyncio.Event()
            holder = asyncio.create_task(hold(appended, refused_all))
            await appended.wait()
            try:
                with refused(InTransaction):
                    store.commit([entry("s", 1)])
                with refused(InTransaction):
                    store.transact(store.append([entry("s", 1)]))
            finally:
                refused_all.set()
            await asyncio.gather(holder, store.commit_async([entry("s", 1)]))

        asyncio.run(work())
        assert [r.seq for r in self.history("s")] == [1, 2]

    # -- places taken beforehand

    def test_reserve_lets_nobody_wait_for_each_other_for_ever(self) -> None:
        """Those who append to the same streams one after the other, each in an order of its own."""
        streams = self.apart(3)

        def crossing(turn: int) -> Callable[[], Op[None]]:
            def op() -> Op[None]:
                yield from self.store.reserve(streams)
                for step in range(len(streams)):
                    yield from self.store.append([entry(streams[(turn + step * (1 + turn % 2)) % 3], 1)])

            return op

        self.at_once([crossing(turn) for turn in range(12)])
        assert sum(len(self.history(stream)) for stream in streams) == 36

    def test_reserve_for_a_group_lets_its_rounds_and_those_who_change_it_never_wait_for_each_other_for_ever(
        self,
    ) -> None:
        """A round holds its shards, then appends, then stops its group; the others stop, start and reset it, and say
        so in the same stream."""
        self.register()
        streams = self.apart(4)
        for stream in streams:
            self.put(stream, 1)

        def settling(claim: Claim) -> Op[None]:
            with contextlib.suppress(Fenced):
                yield from self.store.fence(claim)
                yield from self.store.append([entry(streams[0], 1)])
                yield from self.store.stop("g", "enough")
                yield from self.store.settle("g", [self.move(each, 0) for each in claim.leases], release=True)

        def changing(turn: int) -> Op[None]:
            yield from self.store.reserve([streams[0]], "g")
            if turn % 3 == 0:
                yield from self.store.reset("g")
            elif turn % 3 == 1:
                yield from self.store.start("g", at(0))
            else:
                yield from self.store.stop("g", "a reason")
            yield from self.store.append([entry(streams[0], 1)])

        for turn in range(6):
            self.do(self.store.start("g", at(0)))
            claims = [self.claim(f"w{number}", now=100 * turn, limit=2) for number in range(2)]
            works: list[Callable[[], Op[None]]] = [lambda claim=claim: settling(claim) for claim in claims]  # type: ignore[misc]
            works += [lambda turn=turn: changing(turn), lambda turn=turn: changing(turn + 1)]  # type: ignore[misc]
            self.at_once(works)
        assert len(self.history(streams[0])) >= 13

    # -- between processes

    def test_relay_lets_those_who_share_the_store_hear_of_each_other(self) -> None:
        """J164. Where there is but one process there is nothing to relay."""
        relay = self.store.relay()
        assert (relay is not None) == self.store.capabilities.shared
        if relay is None:
            return
        with heard_through(relay) as hearing:
            assert hearing.heard.acquire(timeout=PATIENCE), "expected it to look once it listens"
            self.put("s")
            other = self.store.relay()
            assert other is not None
            other.tell()
            assert hearing.heard.acquire(timeout=PATIENCE), "expected it to hear of a commit"

    def test_relay_tells_what_was_stored_or_that_it_may_be_anything(self) -> None:
        """J164. Who is told of types that are not his need not look."""
        relay, other = self.store.relay(), self.store.relay()
        if relay is None or other is None:
            return
        with heard_through(relay) as hearing:
            assert hearing.types.get(timeout=PATIENCE) is None, "expected it to know nothing of what was before"
            for types in (TYPES, ("thing.done", 'a "b" żółw'), [f"a.type.of.many.{number}" for number in range(2_000)]):
                self.put("s", 1, type=types[0])
                other.tell(frozenset(types))
                heard: set[str] | None = set()
                while heard is not None and types[0] not in heard:  # it may be told in pieces
                    news = hearing.types.get(timeout=PATIENCE)
                    heard = None if news is None else heard | news

    def test_relay_passes_notes_on_once_they_are_committed(self) -> None:
        """N231, PS2. To this process too, in order, however long they are."""
        relay, other = self.store.relay(), self.store.relay()
        if relay is None or other is None:
            return
        with heard_through(relay) as hearing:
            assert hearing.heard.acquire(timeout=PATIENCE), "expected it to look once it listens"
            long = json.dumps({"text": "é" * 20_000}, ensure_ascii=False)
            for channel, text in (("a", "1"), ("b", long)):
                self.do(other.say(channel, text))
            with refused(Broken):
                self.do(breaking(other.say("a", "2")))
            self.do(relay.say("a", "3"))
            notes = [hearing.notes.get(timeout=PATIENCE) for _ in range(3)]
            assert notes == [("a", "1"), ("b", long), ("a", "3")], "expected what was committed, in order"
            assert not hearing.lapsed


@contextlib.contextmanager
def heard_through(relay: Relay) -> Iterator[Heard]:
    """What is heard until the end of the block."""
    hearing, deaf = Heard(), threading.Event()
    ears = threading.Thread(target=relay.hear, args=(hearing, deaf))
    ears.start()
    try:
        yield hearing
    finally:
        deaf.set()
        relay.rouse()
        ears.join()


class Heard:
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.heard = threading.Semaphore(0)
        self.notes: SimpleQueue[tuple[str, str]] = SimpleQueue()
        self.types: SimpleQueue[Types] = SimpleQueue()
        self.lapsed = False

    def news(self, types: Types = None) -> None:
        self.types.put(types)
        self.heard.release()

    def note(self, channel: str, text: str) -> None:
        self.notes.put((channel, text))

    def lapse(self) -> None:
        self.lapsed = True
