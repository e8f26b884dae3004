"""What happens after an exception: the given policies, and a user's own."""

from datetime import datetime, timedelta
from typing import assert_type

from sourced import Exponential, Failure, Linear, Park, Retry, RetryAt, Sourced, Stop


def tell(failure: Failure, at: datetime) -> None:
    assert_type(failure.message.stream, str)
    assert_type(failure.attempts, int)


def mourn(failure: Failure) -> None: ...


def by_error(failure: Failure) -> RetryAt | Park | Stop:
    if isinstance(failure.error, TimeoutError):
        return RetryAt(failure.now + timedelta(seconds=5))
    return Park(str(failure.error)) if failure.attempts < 3 else Stop()


class ByStream:
    def __call__(self, failure: Failure) -> Park:
        return Park(failure.message.stream)


def half(after: float, attempt: int) -> float:
    return after / attempt


Sourced(errors=Retry(times=3, after=5.0, backoff=Exponential(), on_retry=tell, on_stop=mourn, then=Park()))
Sourced(errors=Retry(after=timedelta(seconds=5), backoff=Linear(), then=Stop("a person must look")))
Sourced(errors=Retry(backoff=half, then=Retry(times=1, after=3600)))
Sourced(errors=by_error)
Sourced(errors=ByStream())
Sourced(errors=lambda failure: Park(repr(failure.error)))
Sourced(batch=100, cache=1_000, lease=timedelta(seconds=10))
