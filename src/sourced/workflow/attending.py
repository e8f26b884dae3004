"""Attending to runs: what the messages of a run's stream lead to, as actions; between them the code is kept alive.

Any message is only a reason to look: the run is brought to the end of its stream first, and all that follows from there
is appended at exactly that place. If somebody was faster, all of it is worked out anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Iterable, Sequence
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any

from msgspec.structs import replace

from sourced.actions import Ack, Action, Actions, AfterCommit, Append, Park, Schedule, Send, Unschedule
from sourced.codec import Codec, Record
from sourced.envelope import Message
from sourced.reactor import Delivery, Later, Memo, Want
from sourced.view import ViewRow
from sourced.workflow import events as e
from sourced.workflow import under_way
from sourced.workflow.attempts import Attempt, Ref, Result, side_by_side
from sourced.workflow.definition import Definition
from sourced.workflow.failures import trouble_of
from sourced.workflow.promises import timer_id, watchdog_id
from sourced.workflow.run import Run

UNSETTLED = 10_000  # results that are remembered although nobody could store them

Made = tuple[Attempt, Result]


class Attending:
    """What all runs of one workflow share."""

    def __init__(self, definition: Definition, group: str) -> None:
        self.definition = definition
        self.group = group
        self._results: OrderedDict[Ref, Result] = OrderedDict()

    def known(self, attempt: Attempt) -> Result | None:
        """What an attempt came to that was made already, when it could not be stored."""
        return self._results.get(attempt.ref)

    def remember(self, made: Made) -> Made:
        attempt, result = made
        self._results[attempt.ref] = result
        while len(self._results) > UNSETTLED:
            self._results.popitem(last=False)
        return made

    def forget(self, made: Iterable[Made]) -> None:
        for attempt, _ in made:
            self._results.pop(attempt.ref, None)


class RunMemo(Memo):
    """A run between two messages: its coroutine, waiting where it was left."""

    __slots__ = ("attended", "attending", "kept", "run", "told")

    def __init__(self, attending: Attending, stream: str) -> None:
        super().__init__(stream)
        self.attending = attending
        self.restart()

    @property
    def keep(self) -> bool:  # type: ignore[override]
        return self.run is not None and self.run.started is not None and not (self.run.ended or self.run.stuck)

    def restart(self) -> None:
        super().restart()
        mine = self.stream.startswith(self.attending.definition.prefix)
        self.run = Run(self.attending.definition, self.stream) if mine else None
        self.told: Sequence[Delivery] = ()
        self.kept: Sequence[ViewRow] = ()
        self.attended = False

    def beside(self) -> Sequence[ViewRow]:
        return self.kept

    def wants(self, deliveries: Sequence[Delivery]) -> Iterable[Want]:
        self.told, self.kept, self.attended = deliveries, (), False
        run = self.run
        if run is None or run.ended or all(each.replaying for each in deliveries):
            return
        if not deliveries or deliveries[-1].message.seq > run.seq or not run.started:
            yield Want(self.stream, run.seq, None, self._take)  # else it is taken at its word; the append knows better

    def _take(self, records: Sequence[Record], codec: Codec) -> None:
        run = self.run
        assert run is not None
        ending = next((each for each in records if each.type in self.attending.definition.endings), None)
        if ending is not None:
            run.end(codec.decode(ending).payload)
            return
        for record in records:
            if record.seq > run.seq:
                run.feed(codec.decode(record))

    def attend(self, delivery: Delivery) -> Actions:
        """What follows from where the run is now; asked for by the first of the messages, it is good for all."""
        run = self.run
        if self.attended or run is None or run.started is None or run.ended:
            return ()
        self.attended = True
        if run.stuck is not None:
            return (Park(str(run.stuck)),)
        due = run.due([each.message for each in self.told if not each.replaying])
        attempts = [Attempt(run.definition, run, call) for call in due]
        if attempts and self.background is not None:
            return self._in_the_background(delivery, attempts)
        return self._here(delivery, attempts)

    # -- making attempts -----------------------------------------------------------------------------------------------

    def _here(self, delivery: Delivery, attempts: Sequence[Attempt]) -> Actions:
        """One after the other, those that have to be awaited side by side, each to its end."""
        begun = [(each, self.attending.known(each) or each.begun()) for each in attempts]
        if all(isinstance(result, Result) for _, result in begun):
            return self._made(delivery, [(each, result) for each, result in begun if isinstance(result, Result)])
        return self._finished(delivery, begun)

    async def _finished(
        self, delivery: Delivery, begun: Sequence[tuple[Attempt, Result | Awaitable[Any]]]
    ) -> list[Action]:
        results = await side_by_side(begun)
        return self._made(delivery, [(each, result) for (each, _), result in zip(begun, results, strict=True)])

    def _made(self, delivery: Delivery, made: Sequence[Made]) -> list[Action]:
        actions = self._following(delivery, [self.attending.remember(each) for each in made])
        if made:
            actions.append(AfterCommit(partial(self.attending.forget, made)))
        return actions

    def _in_the_background(self, delivery: Delivery, attempts: Sequence[Attempt]) -> Later:
        future = self.background.make(attempts)
        return Later(future, partial(self._made_in_the_background, delivery, attempts))

    def _made_in_the_background(
        self, delivery: Delivery, attempts: Sequence[Attempt], results: Sequence[Result | None]
    ) -> list[Action]:
        """Those that take long go on after this round, and a watchdog sees to it that they are not forgotten."""
        background = self.background
        actions = self._following(
            delivery, [(each, result) for each, result in zip(attempts, results, strict=True) if result is not None]
        )
        for attempt, result in zip(attempts, results, strict=True):
            if result is None:
                now = background.now()
                actions.append(Schedule((attempt.watchdog(now),), now + background.lease))
        actions.append(AfterCommit(partial(background.settled, attempts)))
        return actions

    # -- what follows --------------------------------------------------------------------------------------------------

    def _following(self, delivery: Delivery, made: Iterable[Made]) -> list[Action]:
        run, now = self.run, delivery.now
        assert run is not None
        place, appended, others = run.seq, list[Message[Any]](), list[Action]()

        def write(payload: e.Journal, cause: Message[Any]) -> Message[Any]:
            message = cause.follow(payload, stream=run.stream, seq=place + len(appended) + 1, now=now)
            appended.append(message)
            run.feed(message)
            return message

        for attempt, result in made:
            for event in attempt.events(result, now):
                write(event, attempt.started)
                others += attempt.following(event)
        for call in [*run.exhausted()]:
            assert call.started is not None
            error = InterruptedError(f"its process died {call.interrupted} times")
            write(run.own[e.StepFailed](call.key, call.attempt, trouble_of(error)), call.started)
        while run.planned and not run.stuck:
            for plan in [*run.planned.values()]:
                assert run.cause is not None
                written = write(plan(now), run.cause)
                others += self._consequences(run, written)
        others += self._given_up(run, delivery)
        self.kept = [*self._standing(run, now)]
        last = self.told[-1].message if self.told else delivery.message
        return [*self._appends(appended, place), *others, Ack(last)]

    def _appends(self, messages: Sequence[Message[Any]], place: int) -> Iterable[Append]:
        """What only this group would be given, and has seen already, is not given to it: all but steps to be begun."""
        assert self.run is not None
        own = () if self.run.stuck else (self.attending.group,)
        to_do = self.run.own[e.StepStarted]
        for new, several in groupby(messages, lambda each: type(each.payload) is to_do):
            part = tuple(several)
            yield Append(part, place, settled_by=() if new else own)
            place += len(part)

    def _consequences(self, run: Run, written: Message[Any]) -> list[Action]:
        payload = written.payload
        at = (
            payload.at if isinstance(payload, e.TimerSet) else payload.until if isinstance(payload, e.Waiting) else None
        )
        if at is not None:
            fired = written.follow(run.own[e.TimerFired](payload.key), now=written.created_at)
            return [Schedule((replace(fired, id=timer_id(run.stream, payload.key)),), at)]
        if isinstance(payload, e.ChildStarted):
            return [Send((run.child(payload.key).starting(written),))]
        if isinstance(payload, e.ENDINGS) and run.started is not None and run.started.payload.parent:
            return [Send((_told(run.started.payload, payload, written),))]
        return []

    def _standing(self, run: Run, now: datetime) -> Iterable[ViewRow]:
        """Its row: one that begins and ends here needs none."""
        assert run.started is not None
        begins = any(each.message.id == run.started.id for each in self.told)
        if begins and not run.ended:
            yield under_way.begun(run.stream, run.started.position, now)
        elif run.ended and not begins:
            yield under_way.over(run.started.position)

    def _given_up(self, run: Run, delivery: Delivery) -> Iterable[Action]:
        ids = [id for id, at in run.obsolete if at > delivery.now]
        ids += [watchdog_id(run.stream, call.key, call.attempt) for call in run.stopped]
        if ids:
            yield Unschedule(tuple(ids))
        if run.stopped and self.background is not None:
            refs = [(run.stream, call.key, call.attempt) for call in run.stopped]
            yield AfterCommit(partial(self.background.stop, refs))
        for child in run.forsaken:
            request = delivery.message.follow(e.CancelRequested("the run that started it was"), stream=child)
            yield Send((replace(request, id=f"{child}:cancel", created_at=delivery.now),))
        run.obsolete.clear()
        run.stopped.clear()
        run.forsaken.clear()


def _told(started: e.Started, ending: e.Journal, written: Message[Any]) -> Message[Any]:
    """The end of a run, for the one that started it."""
    key = started.parent_key
    told: e.ChildCompleted | e.ChildFailed
    if isinstance(ending, e.Completed):
        told = e.ChildCompleted(key, ending.result)
    elif isinstance(ending, e.Failed):
        told = e.ChildFailed(key, ending.error)
    else:
        reason = ending.reason if isinstance(ending, e.Cancelled) else ""
        told = e.ChildFailed(key, e.Trouble("RunCancelled", reason, ["sourced.errors.RunCancelled"]))
    return written.follow(told, stream=started.parent, now=written.created_at)
