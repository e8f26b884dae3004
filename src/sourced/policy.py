"""What happens after an exception: try again later, in growing steps, and then park the stream or stop the group."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from inspect import iscoroutinefunction, signature
from typing import Any

from sourced.actions import Failure, Park, Policy, RetryAt, Stop, Verdict
from sourced.clock import as_delta
from sourced.errors import DefinitionError

Backoff = Callable[[float, int], float]


@dataclass(frozen=True, slots=True)
class Linear:
    """after, 2·after, 3·after …"""

    def __call__(self, after: float, attempt: int) -> float:
        return after * attempt


@dataclass(frozen=True, slots=True)
class Exponential:
    """after, 2·after, 4·after …, never more than `ceiling` seconds; `after` given here replaces the policy's."""

    after: float | None = None
    factor: float = 2.0
    ceiling: float = 86_400.0

    def __call__(self, after: float, attempt: int) -> float:
        first = after if self.after is None else self.after
        try:
            return min(self.ceiling, first * float(self.factor) ** (attempt - 1))
        except OverflowError:
            return self.ceiling if first else 0.0


@dataclass(frozen=True, kw_only=True)
class Retry:
    """Tries a message `times` more often, then hands it to `then`: park the stream (the default) or stop the group."""

    times: int = 3
    after: timedelta | float = 3.0
    backoff: Backoff = field(default_factory=Linear)
    on_retry: Callable[[Failure, datetime], Any] | None = None
    on_stop: Callable[[Failure], Any] | None = None
    then: Policy = field(default_factory=Park)

    def __post_init__(self) -> None:
        if not isinstance(self.times, int) or self.times < 0:
            raise DefinitionError(f"Retry: expected times to be a whole number from 0, found {self.times!r}")
        if not isinstance(self.after, timedelta | int | float) or as_delta(self.after) < timedelta():
            raise DefinitionError(f"Retry: expected after to be seconds or a timedelta, from 0, found {self.after!r}")
        check_backoff("Retry(backoff=…)", self.backoff)
        _check_callable("Retry(then=…)", self.then, "failure")
        if self.on_retry is not None:
            _check_callable("Retry(on_retry=…)", self.on_retry, "failure, at")
        if self.on_stop is not None:
            _check_callable("Retry(on_stop=…)", self.on_stop, "failure")

    def __call__(self, failure: Failure) -> Verdict:
        if failure.attempts > self.times:
            if self.on_stop:
                self.on_stop(failure)
            return self.then(failure)
        wait = self.backoff(as_delta(self.after).total_seconds(), failure.attempts)
        at = failure.now + timedelta(seconds=wait)
        if self.on_retry:
            self.on_retry(failure, at)
        return RetryAt(at)


def check_policy(subject: str, policy: object) -> None:
    if not callable(policy):
        raise DefinitionError(f"{subject}: expected Retry(…) or a plain function of (failure), found {policy!r}")
    _check_callable(subject, policy, "failure")


def check_backoff(subject: str, backoff: object) -> None:
    _check_callable(subject, backoff, "seconds, attempt")


def _check_callable(subject: str, found: object, parameters: str) -> None:
    """Refuses what would fail, or be passed over, only once something else has failed."""
    wanted = f"{subject}: expected a plain function of ({parameters})"
    if isinstance(found, type):
        raise DefinitionError(f"{wanted}, found the class {found.__qualname__}; make one of it: {found.__qualname__}()")
    if not callable(found):
        raise DefinitionError(f"{wanted}, found {found!r}")
    if iscoroutinefunction(found) or iscoroutinefunction(getattr(found, "__call__", None)):  # noqa: B004
        raise DefinitionError(f"{wanted}, found {found!r}, which is async")
    try:
        signature(found).bind(*parameters.split(", "))
    except TypeError as error:
        raise DefinitionError(f"{wanted}, found {found!r}: {error}") from None
    except ValueError:
        pass  # written in C: it does not say what it takes


def judge(policy: Policy, failure: Failure) -> Verdict:
    """The policy's verdict; a policy that itself fails parks the stream, so that nothing is lost or loops."""
    try:
        verdict = policy(failure)
    except Exception as error:
        error.__context__ = failure.error
        return Park(f"the error policy itself failed: {error!r}")
    if not isinstance(verdict, RetryAt | Park | Stop):
        return Park(f"the error policy answered {verdict!r}; expected RetryAt, Park or Stop")
    return verdict


def in_words(verdict: Verdict) -> str:
    """What becomes of the message, as the log tells it."""
    if isinstance(verdict, RetryAt):
        return f"it is tried again at {verdict.at.isoformat(' ', 'milliseconds')}"
    what = "the stream is parked" if isinstance(verdict, Park) else "the group is stopped"
    return f"{what}: {verdict.reason}" if verdict.reason else what
