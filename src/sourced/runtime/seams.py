"""Where the runtime is listened to: each function wraps one seam, and does next to nothing while nobody listens."""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from msgspec.structs import replace

from sourced.actions import Park, RetryAt, Verdict
from sourced.envelope import Message
from sourced.errors import Fenced
from sourced.messages import Rejected
from sourced.reactor import Delivery
from sourced.runtime.apart import apart, awaited_within
from sourced.runtime.engine import Engine
from sourced.runtime.programs import Afterwards, Program, Work
from sourced.runtime.rounds.slice import Slice
from sourced.store import Claim
from sourced.telemetry import (
    Appended,
    Claimed,
    CommandRejected,
    Dispatched,
    Doing,
    Executed,
    Faltered,
    Handled,
    Happening,
    LeaseLost,
    LeasesRenewed,
    Parked,
    Promoted,
    Refused,
    Retried,
    Settled,
    Stopped,
)

P = ParamSpec("P")
T = TypeVar("T")
W = TypeVar("W", bound="Message[Any] | Sequence[Message[Any]]")
D = TypeVar("D", bound="Delivery | Sequence[Delivery]")

Handing: TypeAlias = Generator[Awaitable[Any], Any, "Verdict | None"]
Storing: TypeAlias = Callable[Concatenate[Engine, W, P], Program[T]]
HandOver: TypeAlias = Callable[[Slice, D], Handing]


# -- the foreground --------------------------------------------------------------------------------------------------


def stores(name: Any, told: Callable[..., Happening]) -> Callable[[Storing[W, P, T]], Storing[W, P, T]]:
    """Wraps a program that stores what it is given first; `told` makes the fact of its result, its time and more."""

    def seam(verb: Storing[W, P, T]) -> Storing[W, P, T]:
        @functools.wraps(verb)
        def wrapped(engine: Engine, what: W, /, *args: P.args, **kwargs: P.kwargs) -> Program[T]:
            if not engine.telemetry.heard:
                return verb(engine, what, *args, **kwargs)
            doing = Doing(name, [what] if isinstance(what, Message) else what)
            return _storing(
                engine,
                doing,
                lambda carrying: verb(engine, carrying[0] if isinstance(what, Message) else carrying, *args, **kwargs),
                lambda result, seconds: told(result, seconds, *args),
            )

        return wrapped

    return seam


def _storing(
    engine: Engine,
    doing: Doing,
    program: Callable[[Any], Program[T]],
    told: Callable[[T, float], Happening],
) -> Program[T]:
    began, telemetry = engine.clock.elapsed(), engine.telemetry
    try:
        with telemetry.around(doing) as carried:
            result = yield from program([message.with_metadata(carried) for message in doing.messages])
    except Exception as error:
        telemetry.tell(Refused(doing, error, engine.clock.elapsed() - began))
        raise
    yield Afterwards([_telling(engine, [told(result, engine.clock.elapsed() - began)])])
    return result


executing = stores("execute", lambda decision, seconds, *_: Executed(decision.command, tuple(decision.events), seconds))
dispatching = stores("dispatch", lambda message, seconds, at: Dispatched(message, at, seconds))
appending = stores("append", lambda messages, seconds, stream, _: Appended(stream, tuple(messages), seconds))


def _telling(engine: Engine, happenings: Iterable[Happening]) -> Work:
    for each in happenings:
        engine.telemetry.tell(each)
    yield from ()


# -- rounds ----------------------------------------------------------------------------------------------------------


def claimed(engine: Engine, claim: Claim, owner: str) -> None:
    if engine.telemetry.heard and claim.leases:
        engine.telemetry.tell(Claimed(claim, owner))


def lease_lost(engine: Engine, fenced: Fenced, owner: str) -> None:
    if engine.telemetry.heard:
        engine.telemetry.tell(LeaseLost(fenced.group, owner, fenced))


def settled(engine: Engine, group: str, owner: str, began: datetime, slices: Sequence[Slice]) -> list[Work]:
    """What to do once a round is committed."""
    return [_telling(engine, _of_round(engine, group, owner, began, slices))] if engine.telemetry.heard else []


def _of_round(engine: Engine, group: str, owner: str, began: datetime, slices: Sequence[Slice]) -> Iterable[Happening]:
    through = [one for one in slices if one.settled]
    for one in through:
        yield from (CommandRejected(group, m) for m in one.memo.batch.events if isinstance(m.payload, Rejected))
    for one in slices:
        if one.verdict and not one.deferred:
            yield _what_became(group, one, one.verdict)
    seconds = (engine.clock.now() - began) / timedelta(seconds=1)
    yield Settled(group, owner, sum(one.done for one in through), len(through), seconds)


def _what_became(group: str, one: Slice, verdict: Verdict) -> Happening:
    message = one.deliveries[one.done].message
    if isinstance(verdict, RetryAt):
        return Retried(group, message, one.attempts, one.error, verdict.at)
    kind = Parked if isinstance(verdict, Park) else Stopped
    return kind(group, message, one.attempts, one.error, verdict.reason)


def handing(engine: Engine, group: str, hand_over: HandOver[D]) -> HandOver[D]:
    """What hands messages to a reactor, one or a batch of them, watched."""
    return _watching(engine, group, hand_over) if engine.telemetry.heard else hand_over


def _watching(engine: Engine, group: str, hand_over: HandOver[D]) -> HandOver[D]:
    clock, telemetry = engine.clock, engine.telemetry

    def watched(one: Slice, handed: D) -> Handing:
        deliveries: Sequence[Delivery] = [handed] if isinstance(handed, Delivery) else handed
        messages, replaying = [each.message for each in deliveries], all(each.replaying for each in deliveries)
        doing, began = Doing("handle", messages, group, replaying, one.attempts), clock.elapsed()

        def told(error: Exception | None) -> None:
            telemetry.tell(Handled(group, messages, replaying, doing.attempts, error, clock.elapsed() - began))

        try:
            with telemetry.around(doing) as carried:
                carrying: Any = [replace(each, message=each.message.with_metadata(carried)) for each in deliveries]
                verdict = yield from hand_over(one, carrying[0] if isinstance(handed, Delivery) else carrying)
        except Exception as error:
            told(error)
            raise
        told(None)
        return verdict

    def handed_apart(one: Slice, handed: D) -> Handing:
        context = contextvars.copy_context()
        return apart(context, watched(one, handed), functools.partial(awaited_within, context))

    return handed_apart


# -- the worker ------------------------------------------------------------------------------------------------------


async def faltering(engine: Engine, group: str, work: Awaitable[T]) -> T:
    """A round, or the housekeeping: that it breaks off is told."""
    try:
        return await work
    except Exception as error:
        if engine.telemetry.heard:
            engine.telemetry.tell(Faltered(group, error))
        raise


def renewed(engine: Engine, claim: Claim, owner: str, until: datetime) -> None:
    if engine.telemetry.heard:
        engine.telemetry.tell(LeasesRenewed(claim, owner, until))


def promoted(engine: Engine, messages: int) -> None:
    if engine.telemetry.heard and messages:
        engine.telemetry.tell(Promoted(messages))
