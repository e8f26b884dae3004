"""One stream's actor with its history folded in: look at its state, decide on it, read on."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from datetime import datetime
from typing import Any, TypeVar

from sourced.actor import Actor, Aggregate, Decision
from sourced.envelope import Message
from sourced.errors import Conflict
from sourced.messages import Command
from sourced.runtime import foreground
from sourced.runtime.engine import Engine
from sourced.runtime.programs import Program
from sourced.verbs import Awaiting, Blocking, verb

S = TypeVar("S")


class LoadedVerbs(Aggregate[S]):
    """An actor with its stream's history folded in."""

    _client: Any

    def __init__(self, client: Any, actor: Actor[S], stream: str, *, pinned: bool = False) -> None:
        super().__init__(actor, stream)
        self._client = client
        # Loaded as of an earlier seq it stays there, and deciding conflicts with what came since.
        self._pinned = pinned
        self._logged: int | None = None  # the seq in the log, once decisions were only thought through on top of it

    def decide(self, command: Command | Message[Command], *, now: datetime | None = None) -> Decision:
        """What would follow from a command, applied here and stored nowhere; `execute` and `refresh` forget it."""
        self._logged = self.seq if self._logged is None else self._logged
        return super().decide(command, now=now)

    def evolve(self, *messages: Message[Any]) -> S:
        """The state with these applied, here and nowhere else; `execute` and `refresh` forget it."""
        self._logged = self.seq if self._logged is None else self._logged
        return super().evolve(*messages)

    def _read(self, upto: int | None) -> Program[None]:
        yield from foreground.catch_up(self._client._engine, self._fold, upto)

    def _back_to_the_log(self) -> Program[None]:
        if self._logged is not None:
            seq, self._logged = self._logged, None
            self._fold.restart()
            yield from foreground.catch_up(self._client._engine, self._fold, seq)

    @verb
    def execute(
        self, command: Command | Message[Command], *, expected_seq: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Program[Decision]:  # fmt: skip
        """Decides a command and stores it with its events, atomically; then this state includes them."""
        engine: Engine = self._client._engine
        yield from self._back_to_the_log()
        if expected_seq is not None and expected_seq != self.seq:
            raise Conflict(self.stream, expected=expected_seq, actual=self.seq)
        pinned = self._pinned or expected_seq is not None
        source = self._client._message(command, self.stream, metadata)
        return (yield from foreground.execute(engine, source, self._fold, loaded=True, pinned=pinned))

    @verb
    def history(self) -> Program[list[Message[Any]]]:
        """The stored messages this state is made of."""
        seq = self.seq if self._logged is None else self._logged
        records = yield from foreground.read(self._client._engine, self.stream, 0, seq)
        return self._client._engine.codec.decode_all(records)

    @verb
    def refresh(self) -> Program[list[Message[Any]]]:
        """Folds in what was stored since; the messages that were new."""
        yield from self._back_to_the_log()
        engine: Engine = self._client._engine
        records = yield from foreground.read(engine, self.stream, self.seq)
        foreground.take(self._fold, self._fold.contents(records, engine.codec))
        self._pinned = False
        return engine.codec.decode_all(records)

    def _perform(self, program: Any) -> Any:
        return self._client._perform(program)


class Loaded(LoadedVerbs[S], Blocking):
    """What `app.load` gives you."""

    def _run(self, command: Any) -> Decision:
        return self.execute(command)


class AsyncLoaded(LoadedVerbs[S], Awaiting):
    """What `await app.aio.load` gives you."""

    def _run(self, command: Any) -> Coroutine[Any, Any, Decision]:
        return self.execute(command)
