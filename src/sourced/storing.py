"""Storing: a command that is decided now, a message that workers will handle, messages as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sourced.actor import Decision
from sourced.envelope import Message, To, address, dispatch
from sourced.errors import Invalid, Rejection
from sourced.messages import Command, Payload
from sourced.runtime import foreground
from sourced.runtime.directing import signalled
from sourced.runtime.programs import Program
from sourced.runtime.transacting import Borrowed
from sourced.verbs import Side, verb
from sourced.workflows import RunOrId


class StoringVerbs(Side):
    """To put messages into the log, decided or as they are."""

    _connection: Any

    @verb
    def execute(
        self,
        command: Command | Message[Command],
        *,
        to: To | None = None,
        expected_seq: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Program[Decision]:
        """Decides a command now and stores it with its events, atomically; a `Rejection` reaches the caller.

        On a conflict it is decided anew on fresh history, a few times, and then while all others wait; `expected_seq`
        pins the stream's seq instead, and `Conflict` says that it was no longer there.
        """
        source = self._message(command, to, metadata)
        return (yield from foreground.execute_routed(self._engine, source, expected_seq=expected_seq))

    @verb
    def attempt(
        self,
        command: Command | Message[Command],
        *,
        to: To | None = None,
        expected_seq: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Program[Decision | Rejection]:
        """The same where a no is an answer like any other: a `Rejection` is returned and not raised."""
        source = self._message(command, to, metadata)
        try:
            return (yield from foreground.execute_routed(self._engine, source, expected_seq=expected_seq))
        except Rejection as no:
            return no

    @verb
    def dispatch(
        self,
        message: Payload | Message[Any],
        *,
        to: To | None = None,
        at: datetime | None = None,
        after: timedelta | float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Program[Message[Any]]:
        """Stores a message for the workers to handle, now or at a later time. The same message id is stored once."""
        source = self._message(message, to, metadata)
        now = self._engine.clock.now()
        due = dispatch(source.payload, at=at, after=after).due(now)
        if due is None and isinstance(self._connection, Borrowed) and self._engine.store.capabilities.concurrent:
            due = now  # an append would hold its shard, and all who append there, until the caller commits
        return (yield from foreground.dispatch(self._engine, source, due))

    @verb
    def append(
        self, stream: To, messages: Payload | Message[Any] | Iterable[Payload | Message[Any]], *,
        expected_seq: int | None = None, metadata: Mapping[str, Any] | None = None,
    ) -> Program[list[Message[Any]]]:  # fmt: skip
        """Stores messages in one stream as they are, all or none; `expected_seq` says what they must follow."""
        name = address(stream)
        several = [messages] if isinstance(messages, Payload | Message) else list(messages)
        enveloped = [self._message(each, name, metadata) for each in several]
        return (yield from foreground.append(self._engine, enveloped, name, expected_seq))

    @verb
    def signal(self, run: RunOrId, message: Payload | Message[Any]) -> Program[Message[Any]]:
        """Sends a run of a workflow a message that it waits for, now or later."""
        return (yield from signalled(self._engine, address(run), self._message(message, address(run), None)))

    def _message(
        self, message: Payload | Message[Any], to: To | None, metadata: Mapping[str, Any] | None
    ) -> Message[Any]:
        if not isinstance(message, Message):
            if to is None:
                name = type(dispatch(message).payload).__qualname__  # which refuses what is no message at all
                raise Invalid(name, {"stream": f"expected to=…, the stream this {name} is for"})
            return Message.new(message, stream=to, metadata=metadata, now=self._engine.clock.now()).detached()
        if to is not None and address(to) != message.stream:
            raise Invalid(
                message.type, {"stream": f"expected a message of {address(to)!r}, found one of {message.stream!r}"}
            )
        if not message.stream:
            raise Invalid(message.type, {"stream": "expected a stream's name, found an empty one"})
        return message.detached().with_metadata(metadata or {})
