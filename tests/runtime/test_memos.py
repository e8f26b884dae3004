"""What is remembered of streams, by several threads at a time."""

import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest

from sourced.clock import SystemClock
from sourced.reactor import Memo, Reactor
from sourced.runtime.engine import Memos
from tests.facts import PATIENCE
from tests.stores.meanwhile import thread

TIMES = 50_000  # that somebody takes one


class Kept(Memo):
    keep = True


class Remembering(Reactor, group="remembering"):
    def memo(self, stream: str) -> Memo:
        return Kept(stream)


class Other(Reactor, group="other"): ...


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """They take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads")
@pytest.mark.parametrize("streams", [1, 20])
def test_one_may_take_while_another_keeps_or_forgets(streams: int):
    """What is kept follows a commit: an error there would tell that nothing was stored."""
    memos, reactor, other = Memos(100, SystemClock(), timedelta(hours=1)), Remembering(), Other()

    def use() -> None:
        for _ in range(TIMES // streams):
            memos.keep(reactor, *[memos.take(reactor, str(number)) for number in range(streams)])

    def forget() -> None:
        while not all(each.done() for each in users):
            memos.forget(other)
            memos.passivate()

    with thread() as start:
        users = [start(use), start(use)]
        start(forget).result(PATIENCE)
        assert [each.result(PATIENCE) for each in users] == [None, None]
    assert len(memos) == streams
