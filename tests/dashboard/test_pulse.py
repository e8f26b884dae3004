"""The pulse: what several looks tell that one alone does not."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sourced.dashboard.glance import SAMPLE, Building, Glance
from sourced.dashboard.pulse import EVERY, Pulse, sparkline
from sourced.doctor import GroupInfo
from sourced.store import Group, Progress, Worker

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def look(
    seconds: float,
    *,
    position: int = 0,
    lag: int = 0,
    handled: int = 0,
    busy: float = 0,
    building: Building | None = None,
    newest: Sequence[tuple[int, str]] = (),
) -> Glance:
    at = NOON + timedelta(seconds=seconds)
    info = GroupInfo(Group("g"), (Progress(0, 0, 0, lag),), ())
    worker = Worker("w", "host", 1, 2, NOON, at, handled, busy)
    return Glance(
        at, 1, position, [info], [worker], 0, [], {"g": building} if building else {}, frozenset(),
        newest or [(each, "placed") for each in range(position, max(0, position - SAMPLE), -1)], {"g": {"placed"}},
    )  # fmt: skip


def felt(*looks: Glance) -> Pulse:
    pulse = Pulse()
    for each in looks:
        pulse.feel(each)
    return pulse


def test_a_group_that_catches_up_has_caught_up_some_day():
    pulse = felt(look(0, lag=1_000), look(10, lag=900))
    info = look(10, lag=900).groups[0]
    assert (pulse.trend("g"), pulse.eta(info)) == (-10, 90)
    assert felt(look(0, lag=1), look(10, lag=900)).eta(info) is None
    assert felt(look(0)).eta(info) is None


def test_what_comes_in_and_what_is_handled_is_told_look_by_look():
    pulse = felt(look(0), look(10, position=100, lag=40), look(20, position=100))
    assert pulse.arriving() == [10, 0]
    assert pulse.handling("g") == [6, 4]
    assert pulse.lagging("g") == [0, 40, 0]


def test_a_group_handles_what_it_takes_and_not_whatever_is_stored():
    """Where more came than is looked at, what is looked at stands for the rest."""
    idle = felt(look(0), look(10, position=100, newest=[(each, "shipped") for each in range(100, 0, -1)]))
    assert (idle.arriving(), idle.handling("g")) == ([10], [0])
    half = [(each, "placed" if each % 2 else "shipped") for each in range(10_000, 10_000 - SAMPLE, -1)]
    assert felt(look(0), look(10, position=10_000, lag=1_000, newest=half)).handling("g") == [400]
    some = felt(look(0, position=90), look(10, position=100, newest=[(each, "placed") for each in range(100, 0, -1)]))
    assert some.handling("g") == [1]


def test_what_a_message_takes_is_what_workers_were_busy_for():
    """Between two signs of life of theirs nothing new is known."""
    pulse = felt(
        look(0), look(10, handled=1_000, busy=2), look(20, handled=1_000, busy=2), look(30, handled=1_100, busy=3)
    )
    assert pulse.taking() == [2, 2, 10]


def test_a_rebuild_says_how_fast_it_is_and_when_it_will_be_done():
    pulse = felt(look(0, building=Building(0, 1_000)), look(10, building=Building(200, 800)))
    assert pulse.building("g") == (20, 40)
    assert felt(look(0, building=Building(0, 1_000))).building("g") == (0, None)
    assert Building(200, 800).share == 0.2


def test_looks_that_come_close_together_count_once():
    assert felt(look(0), look(EVERY / 2, position=7), look(EVERY, position=8)).arriving() == [4]


def test_a_sparkline_needs_two_values():
    assert sparkline([1]) == ""
    assert sparkline([0, 1], width=149, height=11) == "148.0,10.0 149.0,1.0"
