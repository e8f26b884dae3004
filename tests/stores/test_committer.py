"""Commits that are shared: whoever comes while one is under way is part of the next, and nobody suffers for others."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from sourced.errors import Unavailable
from sourced.store import Entry, Outcome
from sourced.stores import _committer
from sourced.stores._committer import AsyncCommitter, Committer, _Caller, _rouse
from tests.facts import PATIENCE, eventually
from tests.stores.meanwhile import thread


class Desk:
    """Where entries are stored: one visit after the other, each begun only when the test lets it."""

    def __init__(self) -> None:
        self.visits: list[list[str]] = []
        self.by: list[int] = []
        self.refuses: dict[str, BaseException] = {}
        self._open = threading.Semaphore(0)

    def lets(self, visits: int) -> None:
        for _ in range(visits):
            self._open.release()

    def __call__(self, entries: Sequence[Entry]) -> list[Outcome]:
        self.visits.append([each.stream for each in entries])
        self.by.append(threading.get_ident())
        assert self._open.acquire(timeout=PATIENCE)
        for stream in self.visits[-1]:
            if stream in self.refuses:
                raise self.refuses[stream]
        return [() for _ in entries]


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.lets(100)  # a test that failed leaves nobody waiting


def entry(stream: str) -> list[Entry]:
    return [Entry(stream, ())]


def queued(committer: Committer, count: int) -> None:
    eventually(lambda: len(committer._waiting) == count)


def coming(start: Any, committer: Committer, desk: Desk, streams: str) -> list[Any]:
    """They come one after the other, while the first visit is under way."""
    eventually(lambda: desk.visits)
    others = []
    for count, stream in enumerate(streams, 1):
        others.append(start(committer.commit, entry(stream)))
        queued(committer, count)
    return others


@pytest.mark.parametrize("late", ["b", "bcd", "bcdefgh"])
def test_who_comes_while_a_commit_is_under_way_shares_the_next(desk: Desk, late: str):
    """However many they are: all of them are answered."""
    committer = Committer(desk)
    with thread() as start:
        first = start(committer.commit, entry("a"))
        others = coming(start, committer, desk, late)
        desk.lets(2)
        assert [each.result(PATIENCE) for each in (first, *others)] == [[()]] * (1 + len(late))
    assert desk.visits == [["a"], [*late]]


def test_a_commit_that_fails_is_made_again_for_each_by_himself(desk: Desk):
    desk.refuses = {"a": ValueError("a"), "c": ValueError("c")}
    committer = Committer(desk)
    with thread() as start:
        first = start(committer.commit, entry("a"))
        others = coming(start, committer, desk, "bcd")
        desk.lets(5)
        failed = [each.exception(PATIENCE) for each in (first, *others)]
    assert [str(each) if each else None for each in failed] == ["a", None, "c", None]
    assert desk.visits == [["a"], ["b", "c", "d"], ["b"], ["c"], ["d"]]


def test_a_store_that_is_gone_is_not_asked_again_for_each(desk: Desk):
    desk.refuses = {"b": Unavailable("it", "gone")}
    committer = Committer(desk)
    with thread() as start:
        first = start(committer.commit, entry("a"))
        others = coming(start, committer, desk, "bc")
        desk.lets(2)
        first.result(PATIENCE)
        assert [type(each.exception(PATIENCE)) for each in others] == [Unavailable, Unavailable]
    assert desk.visits == [["a"], ["b", "c"]]


def test_who_is_interrupted_at_work_interrupts_nobody_else(desk: Desk):
    """The others are told that it is not known what became of theirs, and the next one finds nobody at work."""
    desk.refuses = {"b": KeyboardInterrupt()}
    committer = Committer(desk)
    with thread() as start:
        first = start(committer.commit, entry("a"))
        others = coming(start, committer, desk, "bc")
        desk.lets(3)
        assert isinstance(first.exception(PATIENCE), KeyboardInterrupt)
        for each in others:
            refused = each.exception(PATIENCE)
            assert isinstance(refused, Unavailable)
            assert refused.unsure
        assert committer.commit(entry("d")) == [()]


def test_nobody_commits_for_others_for_long(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    """Whoever came first has his answer, and one of those who wait takes over: here after no time at all."""
    monkeypatch.setattr(_committer, "KINDNESS", -1.0)
    committer = Committer(desk)
    with thread() as start:
        first = start(committer.commit, entry("a"))
        eventually(lambda: desk.visits)
        second = start(committer.commit, entry("b"))
        queued(committer, 1)
        desk.lets(1)
        eventually(lambda: len(desk.visits) == 2)
        third = start(committer.commit, entry("c"))
        queued(committer, 1)
        desk.lets(1)
        first.result(PATIENCE)
        desk.lets(1)
        assert [each.result(PATIENCE) for each in (second, third)] == [[()], [()]]
    assert desk.visits == [["a"], ["b"], ["c"]]
    assert desk.by[0] == desk.by[1] != desk.by[2]


def test_who_is_interrupted_while_he_waits_hands_his_turn_on(desk: Desk):
    """Ctrl-C in the main thread: what he brought is not stored, and those behind him do not wait for ever."""
    committer = Committer(desk)
    with thread() as start:
        first = start(committer.commit, entry("a"))
        eventually(lambda: desk.visits)
        threads: list[int] = []

        def interrupted() -> Any:
            threads.append(threading.get_ident())
            return committer.commit(entry("b"))

        second = start(interrupted)
        queued(committer, 1)
        caller = committer._waiting[0]
        third = start(committer.commit, entry("c"))
        queued(committer, 2)
        committer._withdraw(caller)
        desk.lets(2)
        assert [each.result(PATIENCE) for each in (first, third)] == [[()], [()]]
        caller.error = KeyboardInterrupt()
        caller.rouse()
        assert isinstance(second.exception(PATIENCE), KeyboardInterrupt)
    assert desk.visits == [["a"], ["c"]]


@pytest.mark.parametrize("when", ["before the answer", "after it"])
def test_who_is_interrupted_rouses_those_whom_he_was_to_rouse(when: str):
    """Of those who are answered together each rouses two others; Ctrl-C in one of them leaves nobody asleep."""
    first, *others = callers = [_Caller(entry(stream)) for stream in "abcdef"]
    if when == "before the answer":
        first.leave()
        _rouse(callers)
    else:
        _rouse(callers)
        assert not any(each.roused for each in others)
        first.leave()
    assert [each.roused for each in callers] == [True, True, True, False, False, False]
    for each in others[:2]:
        each.wait()
    assert all(each.roused for each in callers)


def test_tasks_share_commits_too():
    visits: list[list[str]] = []

    async def flush(entries: Sequence[Entry]) -> list[Outcome]:
        visits.append([each.stream for each in entries])
        return [() for _ in entries]

    async def main() -> list[list[Outcome]]:
        committer = AsyncCommitter(flush)
        return await asyncio.gather(*(committer.commit(entry(stream)) for stream in "abc"))

    assert asyncio.run(main()) == [[()]] * 3
    assert visits == [["a", "b", "c"]]
