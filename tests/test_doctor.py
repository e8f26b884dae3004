"""Why anything waits, told so that a person knows what to do."""

from datetime import timedelta
from typing import Any

import pytest

from sourced import (
    Actor,
    Command,
    Event,
    Handlers,
    Park,
    Projector,
    Retry,
    Sourced,
    Stop,
    View,
    Workflow,
    decide,
    evolve,
    on,
)
from sourced.doctor import ago
from sourced.operations import diagnosing
from sourced.ops import Op
from sourced.store import RARE, Store, Worker
from sourced.testing import VirtualClock


class Do(Command, type="patient.do"):
    what: str


class Done(Event, type="patient.done"): ...


class Patient(Actor[None], group="patient"):
    @decide
    def do(self, state: None, command: Do):
        if command.what == "fail":
            raise ValueError("it hurts")
        yield Done()


class Health(View):
    times: int = 0


class Healed(Projector[Health], group="healed"):
    @evolve
    def done(self, row: Health, event: Done):
        row.times += 1


@pytest.fixture
def app(clock: VirtualClock) -> Sourced:
    return admitted(clock, errors=Park())


def admitted(clock: VirtualClock, **options: Any) -> Sourced:
    app = Sourced(clock=clock, **options)
    app.register(Patient)
    return app


def told(app: Sourced) -> list[tuple[str, str, str]]:
    return [(each.weight, each.about, each.why) for each in app.doctor()]


def beat(app: Sourced) -> Op[None]:
    now = app._engine.clock.now()
    return app.store.beat(Worker("here:1:abc", "here", 1, 2, now, now))


def test_when_all_is_well_there_is_nothing_to_say(app: Sourced):
    app.dispatch(Do("well"), to="p1")
    app.drain()
    assert app.doctor() == []


def test_messages_that_nobody_works_on(app: Sourced, clock: VirtualClock):
    app.dispatch(Do("well"), to="p1")
    clock.advance(125)
    (found,) = app.doctor()
    assert (found.weight, found.about) == ("trouble", "patient")
    assert found.why == "1 message behind, the oldest for 2 min 5 s; no worker is alive"
    assert found.advice == "start a worker: sourced worker module:app"
    app.store.transact(beat(app))
    assert told(app) == [("waiting", "patient", "1 message behind, the oldest for 2 min 5 s; a worker will come to it")]


def test_that_nobody_works_is_said_once_however_many_wait_for_it(app: Sourced, clock: VirtualClock):
    class Nurse(Handlers, group="nurse"):
        @on
        def look(self, event: Done) -> None: ...

    class Porter(Nurse, group="porter"): ...

    app.register(Nurse, Porter)
    app.groups.stop(Porter, "holidays", by="vera")
    app.dispatch(Do("well"), to="p1")
    app.append("p2", Done())
    app.dispatch(Do("well"), to="p1", after=1)
    clock.advance(125)
    nobody, stopped = told(app)[:2]
    assert stopped[:2] == ("trouble", "porter")
    assert nobody == (
        "trouble", "workers",
        "none is alive; these wait for one, the oldest message for 2 min 5 s: patient (1 message), "
        "nurse (1 message), the schedule (1 message)",
    )  # fmt: skip
    assert app.doctor()[0].advice == "start a worker: sourced worker module:app"
    app.store.transact(beat(app))
    assert [about for _, about, _ in told(app)] == ["porter", "scheduled patient.do for 'p1'", "patient", "nurse"]


def test_messages_that_somebody_has_in_hand_or_had(app: Sourced, clock: VirtualClock):
    app.dispatch(Do("well"), to="p1")
    now = clock.now()
    app.doctor()  # which makes the group known
    app.store.transact(app.store.claim("patient", "here:1:abc/0", now=now, until=now + timedelta(seconds=30), limit=10))
    app.store.transact(beat(app))
    assert told(app) == [
        ("waiting", "patient", "1 message behind, the oldest for 0 ms; 1 of its shards are in the hands of here:1:abc")
    ]
    clock.advance(31)
    app.store.transact(beat(app))
    assert told(app)[0][2] == (
        "1 message behind, the oldest for 31 s; whoever had it in hand is gone, the next worker takes over"
    )


def test_a_parked_stream(app: Sourced, clock: VirtualClock):
    app.dispatch(Do("fail"), to="p1")
    app.drain()
    clock.advance(7_300)
    (found,) = app.doctor()
    assert (found.weight, found.about) == ("trouble", "patient: stream 'p1'")
    assert found.why == "parked for 2 h 1 min at seq 1 after 1 attempt: ValueError: it hurts"
    assert found.advice == "mend what failed, then: sourced retry module:app --group patient --stream p1"


def test_a_stream_that_will_be_tried_again(clock: VirtualClock):
    app = admitted(clock, errors=Retry(times=3, after=60))
    app.dispatch(Do("fail"), to="p1")
    app.drain()
    clock.advance(10)
    assert told(app) == [
        ("waiting", "patient: stream 'p1'", "seq 1 is tried again in 50 s; 1 attempt so far: ValueError: it hurts")
    ]
    clock.advance(60)
    assert told(app) == [
        ("trouble", "patient", "1 stream is due; no worker is alive"),
        ("waiting", "patient: stream 'p1'", "seq 1 is due now; 1 attempt so far: ValueError: it hurts"),
    ]
    app.store.transact(beat(app))
    assert [weight for weight, *_ in told(app)] == ["waiting"]


def test_a_stopped_group_and_by_whom(app: Sourced, clock: VirtualClock):
    app.dispatch(Do("well"), to="p1")
    app.groups.stop(Patient, "maintenance", by="vera")
    clock.advance(90)
    assert told(app) == [
        ("trouble", "patient", "it was stopped 1 min 30 s ago by vera (maintenance); it is 1 message behind")
    ]
    app.groups.start(Patient)
    app.groups.stop(Patient)
    assert told(app)[0][2] == "it was stopped 0 ms ago (no reason was given); it is 1 message behind"


def test_a_group_that_its_policy_has_stopped(clock: VirtualClock):
    app = admitted(clock, errors=Retry(times=0, then=Stop("ask vera")))
    app.dispatch(Do("fail"), to="p1")
    app.drain()
    clock.advance(5)
    why = "it was stopped 5.0 s ago by its error policy (ask vera; ValueError: it hurts); nothing waits for it"
    assert ("trouble", "patient", why) in told(app)


def test_messages_that_are_due_and_not_moved_and_one_that_was_set_aside(app: Sourced, clock: VirtualClock):
    app.dispatch(Do("well"), to="p1", after=60)
    assert app.doctor() == []
    clock.advance(120)
    assert told(app) == [
        (
            "trouble", "scheduled patient.do for 'p1'",
            "it has been due for 1 min and nobody moved it into the log",
        )
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 ms"), (0.25, "250 ms"), (3.14, "3.1 s"), (59, "59 s"), (60, "1 min"), (3_600, "1 h"),
        (90_061, "1 d 1 h"), (-5, "0 ms"),
    ],
)  # fmt: skip
def test_spans_of_time_are_told_as_people_tell_them(seconds: float, said: str, clock: VirtualClock):
    now = clock.now()
    assert ago(now, now + timedelta(seconds=seconds)) == said


def test_of_nothing_known_it_says_so(clock: VirtualClock):
    assert ago(None, clock.now()) == "an unknown time"


def test_a_group_is_behind_by_what_it_would_handle_and_by_nothing_else(store: Store):
    """Not by messages of other types, nor by what was projected when it was stored."""
    app = Sourced(store, errors=Park())
    app.register(Patient)
    app.register(Healed, inline=True)
    app.append("p1", [Done(), Done()])
    assert app.doctor() == []
    app.groups.stop(Patient, "maintenance", by="vera")
    app.dispatch(Do("well"), to="p1")
    assert {each.name: (each.lag, each.estimated) for each in app.groups.list()} == {
        "healed": (0, False), "patient": (1, False)
    }  # fmt: skip
    assert [each.about for each in app.doctor()] == ["patient"]


def test_that_it_did_not_count_everything_is_said_with_the_number(app: Sourced):
    app.append("p1", [Do("well") for _ in range(RARE + 1)])
    (found,) = app.doctor()
    assert found.why.startswith("about 1,001 messages behind")
    assert app.groups.get(Patient).estimated


def test_a_process_that_is_paused_holds_what_it_has_until_its_leases_run_out(app: Sourced, clock: VirtualClock):
    app.dispatch(Do("well"), to="p1")
    app.doctor()
    for owner in ("here:1:abc", "there:2:def"):
        now = clock.now()
        app.store.transact(beat(app))  # of the first one alone
        claim = app.store.claim("patient", f"{owner}/0", now=now, until=now + timedelta(seconds=30), limit=10)
        app.store.transact(claim)
        clock.advance(20)
        app.append("p2", Do("well"))
        if owner == "here:1:abc":
            assert told(app)[0][2].endswith(
                "in the hands of here:1:abc (not heard of for 20 s; others take over in 10 s if it does not go on)"
            )
            clock.advance(11)
    assert told(app)[0][2].endswith(
        "in the hands of there:2:def (not heard of any more; others take over in 10 s if it does not go on)"
    )


def test_a_shard_where_a_worker_has_died(app: Sourced, clock: VirtualClock):
    app.append("p1", [Do("well"), Do("well")])
    app.doctor()
    for _ in range(2):
        now = clock.now()
        app.store.transact(app.store.claim("patient", "w/0", now=now, until=now + timedelta(seconds=30), limit=10))
        clock.advance(31)
    why = "a shard of it is gone through message by message, since a worker died there in the middle of them"
    assert ("waiting", "patient", why) in told(app)


def test_of_very_much_that_is_due_what_comes_first_is_told_and_how_much_more_there_is(
    app: Sourced, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(diagnosing, "LOOKED", 2)
    for days in (1, 1, 1, 1, 3):
        app.dispatch(Do("well"), to="p1", after=timedelta(days=days))
    assert app.doctor() == []
    clock.advance(timedelta(days=2).total_seconds())
    once, more = app.doctor()
    assert once.why == "none is alive; these wait for one: the schedule (2 messages)"
    assert (more.about, more.why) == ("the schedule", "2 more than these are overdue, or set aside")
    assert more.advice == "all of them: sourced scheduled module:app"
    assert app.status().scheduled == 5


def test_a_machine_whose_clock_is_ahead(app: Sourced, clock: VirtualClock):
    now = clock.now()
    app.store.transact(app.store.beat(Worker("there:1:abc", "there", 1, 2, now, now + timedelta(seconds=90))))
    (found,) = app.doctor()
    assert (found.weight, found.about) == ("trouble", "worker there:1:abc")
    assert found.why.startswith("its clock is 1 min 30 s ahead of the one here")


def test_what_an_exception_says_is_told_on_one_line(app: Sourced):
    class Talkative(Handlers, group="talkative"):
        @on
        def done(self, event: Done) -> None:
            raise ValueError("first\n  second" + 1_000 * "!")

    app.register(Talkative)
    app.append("p1", Done())
    app.drain()
    (found,) = app.doctor()
    assert "ValueError: first second!!!" in found.why
    assert found.why.endswith("!…")
    assert len(found.why) < 600


def test_a_group_that_no_code_handles_for_is_worth_knowing_and_no_trouble(store: Store):
    before = Sourced(store)
    before.register(Patient)
    assert before.doctor() == []
    after = Sourced(store)
    after.register(Healed)
    (found,) = after.doctor()
    assert (found.weight, found.about) == ("fine", "patient")
    assert found.advice == "one that was renamed goes on where it was with group='patient'"
    assert Sourced(store).doctor() == []  # who knows no code looks at all there is


def test_rebuilds_and_runs_that_are_under_way(store: Store):
    class Stay(Workflow):
        async def run(self) -> None:
            await self.wait_for(Done)

    app = Sourced(store)
    app.register(Healed, Stay)
    for _ in range(2):
        app.start(Stay)
    app.drain()
    app.store.transact(app.store.build_beside("healed", "healed@beside", "new"))
    rebuild, runs = app.doctor()
    assert (rebuild.weight, rebuild.about) == ("waiting", "healed")
    assert rebuild.advice == "if nobody is at it, this goes on: sourced rebuild module:app healed"
    assert (runs.weight, runs.about, runs.why) == ("fine", "Stay", "2 runs are under way")
    assert "sourced workflows list module:app -w" in runs.advice
    assert [each.name for each in Sourced(store).groups.list() if "@" in each.name] == []
