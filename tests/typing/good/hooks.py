"""Hooks under parameter names of the user's own, and awaited where they may be: checkers refuse none of them."""

from typing import Any

from sourced import (
    Actor,
    Batch,
    Command,
    Delivery,
    Event,
    Events,
    Failure,
    Message,
    Park,
    Projector,
    Reactor,
    Retry,
    RetryAt,
    Sourced,
    Stop,
    decide,
    evolve,
    sync,
)


class Count(Command): ...


class Counted(Event): ...


class Counts(Actor[list[int]], group="counts"):
    def initial(self, stream_id: str) -> list[int]:
        return []

    def before_evolve(self, counts: list[int], event: Message[Any]) -> None:
        counts.append(event.seq)

    @decide
    def count(self, counts: list[int], command: Count) -> Events[list[int]]:
        yield Counted()

    @evolve
    def counted(self, counts: list[int], event: Counted) -> None: ...

    def errors(self, failed: Failure) -> RetryAt | Park | Stop:
        return Stop() if isinstance(failed.error, MemoryError) else Park(str(failed.error))

    def on_stop(self, why: str) -> None: ...


class Rows(Projector[int]):
    errors = Retry(times=1)

    def initial(self, key: str) -> int:
        return 0

    def key(self, event: Message[Counted]) -> str:
        return event.stream

    async def load(self, row: str, connection: Any) -> int | None:
        return None

    @evolve
    def counted(self, row: int, event: Counted) -> int:
        return row + 1

    @sync
    async def save(self, row: int, batch: Batch, connection: Any) -> None: ...

    async def on_start(self) -> None: ...

    async def on_stop(self, why: str) -> None: ...

    async def on_reset(self, connection: Any) -> None: ...


class Heard(Reactor):
    handles = (Counted,)

    def handle(self, each: Delivery) -> None: ...


app = Sourced()
app.register(Counts, Rows, Heard)
app.execute(Count(), to="c1")
app.groups.reset(Rows)
assert app.load(Counts, "c1").state == [2]
