"""The log is written and read."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from sourced.ops import Op
from sourced.store import Range
from sourced.testing.conformance.bench import at
from sourced.testing.conformance.machine.base import Base
from sourced.testing.conformance.machine.drawn import STREAMS, Wish, kinds, seconds, streams, wishes
from sourced.testing.conformance.machine.sides import Side
from sourced.testing.conformance.reading import said


class Log(Base):
    @rule(wished=st.lists(wishes, min_size=1, max_size=5), awaited=st.booleans())
    def append(self, wished: list[Wish], awaited: bool) -> None:
        entries = self.entries(wished)
        self.both(lambda side: side.store.append(entries), awaited=awaited)

    @rule(wished=st.lists(wishes, max_size=5), awaited=st.booleans())
    def commit(self, wished: list[Wish], awaited: bool) -> None:
        entries = self.entries(wished)
        expected = self.reference.store.commit(entries)
        store = self.tested.store
        found = self.runner.run(store.commit_async(entries)) if awaited else store.commit(entries)
        self.both(lambda side: side.store.streams())
        assert self.tested.plain(found) == self.reference.plain(expected)

    @rule(
        ranges=st.lists(st.tuples(streams, st.integers(0, 5), st.none() | st.integers(0, 9)), max_size=4),
        after=st.integers(0, 12), limit=st.none() | st.integers(0, 6), some=st.none() | kinds,
        times=st.tuples(st.none() | seconds, st.none() | seconds), backwards=st.booleans(), known=st.integers(0, 40),
        awaited=st.booleans(),
    )  # fmt: skip
    def read(
        self, ranges: list[tuple[str, int, int | None]], after: int, limit: int | None, some: frozenset[str] | None,
        times: tuple[int | None, int | None], backwards: bool, known: int, awaited: bool,
    ) -> None:  # fmt: skip
        since, until = (None if each is None else at(each) for each in times)

        def step(side: Side) -> Op[Any]:
            store, place = side.store, side.position(min(after, len(side.log)))
            pieces: list[Any] = yield from store.histories([Range(*each) for each in ranges])
            for stream, first, last in ranges:
                pieces.append(said((yield from store.contents(stream, some or (), after=first, upto=last))))
            log = yield from store.read_all(
                after=place, limit=limit, types=some, since=since, until=until, backwards=backwards
            )
            newest = yield from store.streams(limit)
            heads = yield from store.heads([name for name, _, _ in ranges])
            names = yield from store.names(after=STREAMS[after % len(STREAMS)], limit=3, part=STREAMS[known % 2][-1:])
            count = yield from store.count(after=place, types=some)
            return [*pieces], log, newest, heads, names, count, (yield from store.trace(f"m-{known}"))

        self.both(step, reading=True, awaited=awaited)
