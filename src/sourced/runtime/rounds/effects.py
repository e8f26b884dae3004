"""What the handling of one stream's messages asked for, gathered and encoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sourced.actions import (
    Ack,
    Action,
    AfterCommit,
    Append,
    Park,
    RetryAt,
    Schedule,
    Send,
    Stop,
    Sync,
    Unschedule,
    Verdict,
)
from sourced.codec import Record
from sourced.envelope import Message
from sourced.reactor import Memo
from sourced.runtime.engine import Engine
from sourced.store import Entry, Scheduled

VERDICTS = (RetryAt, Park, Stop)
_AT_HAND = (tuple, list)


class Effects:
    """Filled message by message; a message whose actions are wrong leaves no trace."""

    __slots__ = (
        "acked", "acked_at", "after", "entries", "inline", "memo", "projected", "scheduled", "sent", "syncs",
        "unscheduled",
    )  # fmt: skip

    def __init__(self, memo: Memo) -> None:
        """Tuples, as most stay empty, and what is put into them is taken back by keeping what they were."""
        self.memo = memo
        self.entries: tuple[Entry, ...] = ()
        self.sent: tuple[Record, ...] = ()
        self.scheduled: tuple[Scheduled, ...] = ()
        self.unscheduled: tuple[str, ...] = ()
        self.syncs: tuple[Sync, ...] = ()
        self.after: tuple[AfterCommit, ...] = ()
        self.inline = False  # some of it is projected as it is stored
        self.projected: Sequence[AfterCommit] = ()  # what follows from that
        self.acked = self.acked_at = 0  # the seq and the position everything is done through

    @property
    def simple(self) -> bool:
        """Nothing of it can fail but one append, so it may be stored together with other streams' effects."""
        return len(self.entries) <= 1 and not self.syncs and not self.inline

    def add(self, actions: Iterable[Action], source: Message[Any], engine: Engine) -> Verdict | None:
        """Takes the actions of one message; a verdict among them means that the message was not handled after all."""
        if isinstance(actions, _AT_HAND) and len(actions) == 1 and not isinstance(actions[0], VERDICTS):
            self._add(actions[0], source, engine)  # which is added, or fails before anything is
        elif verdict := self._add_all(actions, source, engine):
            return verdict
        if engine.router.inline:
            self.inline = bool(engine.router.inline_for(self.records()))
        return None

    def _add_all(self, actions: Iterable[Action], source: Message[Any], engine: Engine) -> Verdict | None:
        before, whole = self._mark(), False
        try:
            for action in actions:
                if isinstance(action, VERDICTS):
                    return action
                self._add(action, source, engine)
            whole = True
        finally:
            if not whole:
                self._back_to(before)
        return None

    def _mark(self) -> tuple[Any, ...]:
        filled = self.entries, self.sent, self.scheduled, self.unscheduled, self.syncs, self.after
        return *filled, self.acked, self.acked_at

    def _back_to(self, mark: tuple[Any, ...]) -> None:
        self.entries, self.sent, self.scheduled, self.unscheduled, self.syncs, self.after, *acked = mark
        self.acked, self.acked_at = acked

    def _add(self, action: Action, source: Message[Any], engine: Engine) -> None:
        if isinstance(action, Append):
            if action.messages:
                records = engine.encode(caused(source, action.messages), action.settled_by)
                self._append(Entry(action.messages[0].stream, records, action.expected_seq, action.heeds))
        elif isinstance(action, Send):
            self.sent += engine.encode(caused(source, action.messages))
        elif isinstance(action, Schedule):
            records = engine.encode(caused(source, action.messages))
            self.scheduled += tuple([Scheduled(record, action.at) for record in records])
        elif isinstance(action, Unschedule):
            self.unscheduled = (*self.unscheduled, *action.ids)
        elif isinstance(action, Sync):
            self.syncs += (action,)
        elif isinstance(action, AfterCommit):
            self.after += (action,)
        elif isinstance(action, Ack):
            if action.message.stream != source.stream:
                raise TypeError(f"Ack: expected a message of {source.stream!r}, found one of {action.message.stream!r}")
            self.acked, self.acked_at = max((self.acked, self.acked_at), (action.message.seq, action.message.position))
        else:
            raise TypeError(f"expected an action, found {action!r}; see sourced.actions for what there is")

    def put_off(self, now: datetime) -> None:
        """What is sent goes by the schedule, due at once: who holds rows does not project into others."""
        if self.inline:
            self.scheduled = (*(Scheduled(record, now) for record in self.sent), *self.scheduled)
            self.sent, self.inline = (), False

    def records(self) -> Iterator[Record]:
        """What is stored in the log because of it."""
        for entry in self.entries:
            yield from entry.records
        yield from self.sent

    def _append(self, entry: Entry) -> None:
        """Appends that follow each other become one."""
        last = self.entries[-1] if self.entries else None
        if last and last.stream == entry.stream and follows(entry, last):
            joined = Entry(last.stream, last.records + entry.records, last.expected_seq, last.heeds)
            self.entries = (*self.entries[:-1], joined)
        else:
            self.entries += (entry,)


def follows(entry: Entry, last: Entry) -> bool:
    if last.expected_seq is None or last.heeds != entry.heeds:
        return False
    return last.expected_seq + len(last.records) == entry.expected_seq


def caused(source: Message[Any], messages: Iterable[Message[Any]]) -> Iterable[Message[Any]]:
    """Messages that do not say what caused them were caused by what is being handled."""
    return (source.correlate(m) if m.causation_id == m.id and m.id != source.id else m for m in messages)


def each_alone(records: Iterable[Record]) -> list[Entry]:
    """Records that go to the end of their streams; one that is there already takes none of the others with it."""
    return [Entry(record.stream, (record,)) for record in records]
