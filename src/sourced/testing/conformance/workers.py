"""Workers: who is alive."""

from __future__ import annotations

from msgspec.structs import replace

from sourced.clock import SystemClock
from sourced.store import Worker
from sourced.testing.conformance.bench import Bench, at


class Workers(Bench):
    def worker(self, name: str, started: float = 0) -> Worker:
        return Worker(name, "host", 4711, 2, at(started), at(started))

    def alive(self, since: float = 0) -> list[Worker]:
        return self.do(self.store.workers(at(since)))

    def test_beat_writes_down_who_is_alive_and_since_when(self) -> None:
        """J171. Once for each, however often they say so."""
        one, two = self.worker("b", 1), self.worker("a", 2)
        for worker in (two, one, one):
            self.do(self.store.beat(worker))
        assert self.alive() == [one, two]
        later = replace(one, beat_at=at(9.000001), rounds=3, handled=2**40, busy=1234.5)
        self.do(self.store.beat(later))
        assert self.alive() == [later, two]

    def test_workers_are_those_who_were_heard_of_since(self) -> None:
        """J172."""
        one, two = self.worker("one", 1), self.worker("two", 2)
        self.do(self.store.beat(one))
        self.do(self.store.beat(two))
        assert self.alive(since=2) == [two]
        assert self.alive(since=0) == [one, two]

    def test_beat_forgets_those_who_have_been_silent_for_a_day(self) -> None:
        self.do(self.store.beat(self.worker("one", 0)))
        late = self.worker("two", 86_401)
        self.do(self.store.beat(late))
        assert self.alive() == [late]

    def test_leave_forgets_one_and_nobody_else(self) -> None:
        one, two = self.worker("one"), self.worker("two")
        self.do(self.store.beat(one))
        self.do(self.store.beat(two))
        self.do(self.store.leave("one"))
        self.do(self.store.leave("nobody"))
        assert self.alive() == [two]

    # -- the database itself

    def test_symptoms_are_none_where_all_is_well(self) -> None:
        self.put("s")
        assert self.do(self.store.symptoms(SystemClock().now)) == []
