"""What error policies refuse: anything that cannot be asked what to do with a failure, and other answers."""

from sourced import Failure, Park, Retry, Sourced


def whenever(failure: Failure) -> float:
    return 5.0


def everything(failure: Failure) -> Park:
    return Park(failure.colour)  # E: both


async def in_time(failure: Failure) -> Park:
    return Park()


Sourced(errors=7)  # E: both
Sourced(errors=Park)  # E: both
Sourced(errors=whenever)  # E: both
Sourced(errors=in_time)  # E: both
Sourced(errors=lambda failure: None)  # E: both
Retry(3)  # E: both
Retry(times="3")  # E: both
Retry(after="a while")  # E: both
Retry(backoff=2.0)  # E: both
Retry(backoff=lambda attempt: 2.0)  # E: both
Retry(then=7)  # E: both
Retry(then=whenever)  # E: both
Retry(on_retry=lambda failure: None)  # E: both
Retry(on_stop=lambda failure, at: None)  # E: both
