"""An error policy is told of a failure and answers: try again then, park the stream, or stop the group."""

import re
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from unittest.mock import Mock

import pytest

from sourced import (
    Actor,
    DefinitionError,
    Exponential,
    Failure,
    Invalid,
    Linear,
    Message,
    Park,
    Retry,
    RetryAt,
    Sourced,
    Stop,
    decide,
)
from sourced.policy import judge
from sourced.testing import VirtualClock
from sourced.testing.shop import AddItem

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def failure(attempts=1):
    return Failure("carts", Message.new(AddItem("tea"), stream="c1"), ValueError("no tea"), attempts, NOW)


def seconds(policy, attempts):
    """The waits a policy asks for, one attempt after the other."""
    return [(policy(failure(n)).at - NOW).total_seconds() for n in range(1, attempts + 1)]


class TestRetry:
    def test_linear_steps_then_the_end_and_the_hooks_know(self):
        """G124. Our streams are parked, where the originals stop the group; `then=Stop()` does what they do."""
        on_retry, on_stop = Mock(), Mock()
        policy = Retry(times=3, after=5.0, on_retry=on_retry, on_stop=on_stop)
        verdicts = [policy(failure(n)) for n in range(1, 5)]
        assert verdicts == [*(RetryAt(NOW + timedelta(seconds=s)) for s in (5, 10, 15)), Park()]
        told = [(call.args[0].attempts, call.args[1]) for call in on_retry.call_args_list]
        assert told == [(n, NOW + timedelta(seconds=5 * n)) for n in (1, 2, 3)]
        assert [call.args[0].attempts for call in on_stop.call_args_list] == [4]
        assert on_stop.call_args.args[0].error.args == ("no tea",)

    def test_exponential_steps(self):
        """G125."""
        assert seconds(Retry(times=5, after=2, backoff=Exponential()), 5) == [2, 4, 8, 16, 32]

    def test_the_default_is_three_more_tries_in_linear_steps_and_then_parked(self):
        assert seconds(Retry(), 3) == [3, 6, 9]
        assert Retry()(failure(4)) == Park()

    @pytest.mark.parametrize("then", [Stop("too much"), Park("look at it"), lambda f: RetryAt(f.now)])
    def test_what_comes_after_the_last_try_is_said_in_then(self, then):
        policy = Retry(times=1, then=then)
        assert isinstance(policy(failure(1)), RetryAt)
        assert policy(failure(2)) == then(failure(2))

    def test_a_retry_may_follow_a_retry(self):
        """Three quick tries, and then patience."""
        patient = Retry(times=5, after=3600)
        quick = Retry(times=2, after=1, then=patient)
        assert seconds(quick, 5) == [1, 2, 3 * 3600, 4 * 3600, 5 * 3600]
        assert quick(failure(6)) == Park()

    def test_no_tries_at_all(self):
        assert Retry(times=0)(failure(1)) == Park()

    def test_durations_are_seconds_or_timedeltas(self):
        assert seconds(Retry(after=timedelta(minutes=1)), 2) == [60, 120]
        assert seconds(Retry(after=0), 2) == [0, 0]

    def test_a_backoff_of_ones_own(self):
        assert seconds(Retry(after=10, backoff=lambda after, attempt: after / attempt), 3) == [
            10,
            5,
            pytest.approx(10 / 3),
        ]

    def test_a_policy_is_a_value(self):
        assert Retry(times=2) == Retry(times=2) != Retry(times=3)
        assert repr(Retry(times=2)).startswith("Retry(times=2, after=3.0, backoff=Linear()")


class TestBackoff:
    def test_linear(self):
        assert [Linear()(2.0, n) for n in range(1, 5)] == [2, 4, 6, 8]

    def test_exponential_has_a_first_step_a_factor_and_a_ceiling_of_its_own(self):
        assert [Exponential(1.0)(99, n) for n in range(1, 5)] == [1, 2, 4, 8]
        assert [Exponential(factor=3, ceiling=20)(1.0, n) for n in range(1, 6)] == [1, 3, 9, 20, 20]

    @pytest.mark.parametrize("factor", [2.0, 3, 10, 1e300])
    def test_exponential_never_outgrows_its_ceiling_or_the_number(self, factor):
        """A message that is retried for years is still retried, once a day."""
        for attempt in (100, 1_000, 100_000):
            assert Exponential(factor=factor)(5.0, attempt) == 86_400

    def test_exponential_of_nothing_is_nothing(self):
        assert [Exponential()(0, attempt) for attempt in (1, 2, 100_000)] == [0, 0, 0]


class TestRefused:
    """G128. Found when it is written, where the originals find it when something has failed already."""

    @pytest.mark.parametrize(
        ("wrong", "found"),
        [
            (3, "found 3"),
            ("retry", "found 'retry'"),
            (Retry, r"found the class Retry; make one of it: Retry\(\)"),
            (Stop, r"found the class Stop; make one of it: Stop\(\)"),
            (lambda: Park(), "too many positional arguments"),
            (lambda failure, more: Park(), "missing a required argument: 'more'"),
        ],
    )
    def test_what_is_no_policy(self, wrong, found):
        for configure in (
            lambda: Sourced(errors=wrong),
            lambda: Retry(then=wrong),
            lambda: Sourced().register(_actor(errors=staticmethod(wrong) if callable(wrong) else wrong)),
        ):
            with pytest.raises(DefinitionError, match=rf"expected .*a plain function of \(failure\), .*{found}"):
                configure()

    def test_what_is_async(self):
        async def later(failure):
            """A policy decides at once; nobody would await it."""

        wrongs: list[Any] = [later, partial(later)]
        for wrong in wrongs:
            with pytest.raises(DefinitionError, match="which is async"):
                Sourced(errors=wrong)
        with pytest.raises(DefinitionError, match=r"Retry\(on_stop=…\): .* async"):
            Retry(on_stop=later)

    @pytest.mark.parametrize(
        "options",
        [{"times": -1}, {"times": "3"}, {"times": 1.5}, {"after": -1}, {"after": "5s"}, {"after": None},
         {"backoff": 2}, {"backoff": Exponential}, {"backoff": lambda after: 1}, {"then": None}, {"on_retry": 3},
         {"on_retry": lambda failure: None}, {"on_stop": lambda: None}],
        ids=lambda options: re.sub(" at 0x[0-9a-f]+", "", str(options)),  # the same in every process
    )  # fmt: skip
    def test_options_of_retry_that_cannot_work(self, options):
        (name,) = options
        with pytest.raises(DefinitionError, match=f"Retry.*{name}"):
            Retry(**options)

    def test_a_duration_that_is_no_number(self):
        with pytest.raises(Invalid):
            Retry(after=float("nan"))


class TestFailingPolicies:
    """Nothing is lost and nothing loops: the stream is parked, and the reason says that it was the policy."""

    def test_one_that_raises(self):
        def broken(failure):
            raise KeyError("no such setting")

        verdict = judge(broken, failure())
        assert verdict == Park("the error policy itself failed: KeyError('no such setting')")

    @pytest.mark.parametrize("hook", ["on_retry", "on_stop", "backoff"])
    def test_hooks_that_raise(self, hook):
        verdict = judge(
            Retry(times=1, **{hook: Mock(side_effect=OSError("no mail"))}), failure(2 - (hook != "on_stop"))
        )
        assert isinstance(verdict, Park)
        assert "no mail" in verdict.reason

    @pytest.mark.parametrize("answer", [None, "retry", 5, True, NOW, Retry(), RuntimeError()])
    def test_one_that_answers_something_else(self, answer):
        verdict = judge(lambda failure: answer, failure())
        assert isinstance(verdict, Park)
        assert f"the error policy answered {answer!r}; expected RetryAt, Park or Stop" == verdict.reason

    def test_a_wait_that_never_ends(self):
        assert isinstance(judge(Retry(backoff=lambda after, attempt: float("inf")), failure()), Park)


def _actor(**attributes):
    class Broken(Actor[None]):
        @decide
        def add(self, state, command: AddItem):
            raise ValueError(command.product)

    for name, value in attributes.items():
        setattr(Broken, name, value)
    return Broken


def fail(app, *reactors):
    app.register(*reactors)
    message = app.dispatch(AddItem("tea"), to="c1")
    app.drain()
    return message


class TestInAnApp:
    def test_a_custom_policy_decides(self):
        """G128. It is told which message failed, for whom, how often by now, and when."""
        policy = Mock(return_value=Park("tea is out"))
        app = Sourced(errors=lambda failure: policy(failure), clock=VirtualClock())
        message = fail(app, _actor())
        (told,) = policy.call_args.args
        assert (told.group, told.message.id, repr(told.error)) == ("Broken", message.id, "ValueError('tea')")
        assert (told.attempts, told.now) == (1, app._engine.clock.now())
        assert [row.reason for row in app.parked.list()] == ["tea is out"]

    @pytest.mark.parametrize("how", ["value", "method"])
    def test_a_reactors_own_policy_is_used_instead(self, how):
        """G129."""
        app = Sourced(errors=Stop("the app's"), clock=VirtualClock())
        fail(app, _actor(errors=Park("its own") if how == "value" else lambda self, failure: Park("its own")))
        assert [row.reason for row in app.parked.list()] == ["its own"]
        assert app.groups.get("Broken").status == "active"

    def test_a_policy_that_fails_parks_the_stream_and_says_so(self):
        app = Sourced(errors=Mock(side_effect=KeyError("setting")), clock=VirtualClock())
        fail(app, _actor())
        (row,) = app.parked.list()
        assert row.reason == "the error policy itself failed: KeyError('setting')"
        assert row.error == "ValueError: tea"

    def test_stopping_stops_the_whole_group_and_parking_does_not(self):
        for policy, status, parked in ((Stop("enough"), "stopped", 0), (Park(), "active", 1)):
            app = Sourced(errors=policy, clock=VirtualClock())
            fail(app, _actor())
            assert (app.groups.get("Broken").status, len(app.parked.list())) == (status, parked)
