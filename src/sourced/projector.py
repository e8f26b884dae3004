"""Projectors fold messages into read models and may react to what they have just projected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Generic, TypeVar

from sourced.actions import Action, Actions
from sourced.codec import Codec, Record
from sourced.errors import DefinitionError
from sourced.evolving import Evolving
from sourced.fold import Fold
from sourced.messages import Payload
from sourced.reactor import Delivery, Memo, Want

S = TypeVar("S")


class Projector(Evolving, Generic[S]):
    """State-stored: `load` a row, `@evolve` it, `@sync` it back, with the offset, in one transaction: exactly once."""

    roles = ("evolve", "react", "sync", "after_commit")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for message in cls.tables.react.keys() - cls.tables.evolve.keys():
            handler = cls.tables.react[message]
            raise DefinitionError(
                f"{cls.__qualname__}.{handler.name} reacts to {message.__qualname__}, which it does not evolve; "
                f"add an @evolve method for it"
            )

    @property
    def handles(self) -> tuple[type[Payload], ...]:  # type: ignore[override]
        return tuple(self.tables.evolve)

    def load(self, key: str, tx: Any) -> S | None:
        """The stored row, or None when there is none yet; `tx` is the loading transaction."""
        return None

    def memo(self, stream: str) -> ProjectorMemo:
        return ProjectorMemo(self, stream)

    def handle(self, delivery: Delivery) -> Actions:
        memo = delivery.memo
        assert isinstance(memo, ProjectorMemo)
        memo.tainted = True  # until this message is through, the state is in doubt
        memo.bring_up_to(delivery)
        actions = () if delivery.replaying else self.react_to(memo.fold.state, delivery)
        if isinstance(actions, list | tuple):
            return memo.done(delivery, actions)
        return memo.done_async(delivery, actions)

    def closing(self, memo: Memo) -> Iterable[Action]:
        assert isinstance(memo, ProjectorMemo)
        return self.closing_with(memo.fold.state, memo.batch)


class EventSourced(Projector[S]):
    """A projector that loads nothing: it rebuilds its state from the stream's history."""

    def memo(self, stream: str) -> HistoryMemo:
        return HistoryMemo(self, stream)


class ProjectorMemo(Memo):
    """A projector's row while a batch goes through it; the row itself lives elsewhere, so nothing is kept."""

    elsewhere = True

    def __init__(self, projector: Projector[Any], stream: str) -> None:
        super().__init__(stream)
        self.projector = projector
        self.fold: Fold[Any] = Fold(projector, stream)
        self.loads = type(projector).load is not Projector.load

    def load(self, tx: Any) -> Any:
        return self.projector.load(self.stream, tx)

    def loaded(self, state: Any) -> None:
        if state is not None:
            self.fold.state = state
        for event in self.batch.events:  # after a failure: back to the end of the good prefix
            self.fold.apply(event)

    def restart(self) -> None:
        super().restart()
        self.fold.restart()

    def bring_up_to(self, delivery: Delivery) -> None:
        self.fold.apply(delivery.message)

    def done(self, delivery: Delivery, actions: Any) -> Any:
        self.batch.events.append(delivery.message)
        self.batch.replaying = delivery.replaying
        self.tainted = False
        return actions

    async def done_async(self, delivery: Delivery, actions: Any) -> Any:
        return self.done(delivery, await actions)


class HistoryMemo(ProjectorMemo):
    """The fold of a stream's history as of the message being handled, kept between rounds."""

    keep = True
    elsewhere = False

    def __init__(self, projector: Projector[Any], stream: str) -> None:
        super().__init__(projector, stream)
        self.loads = False

    def wants(self, deliveries: Sequence[Delivery]) -> Sequence[Want]:
        if self.fold.seq and deliveries and deliveries[0].message.seq <= self.fold.seq:
            self.fold.restart()  # a replay starts over
        upto = deliveries[-1].message.seq if deliveries else self.batch.events[-1].seq
        return (Want(self.stream, self.fold.seq, upto, self._take),)

    def loaded(self, state: Any) -> None:
        """Nothing is stored elsewhere: the history is all there is."""

    def _take(self, records: Sequence[Record], codec: Codec) -> None:
        self.fold.hold(records, codec)
        if self.batch.events:
            self.fold.as_of(self.batch.events[-1].seq)

    def bring_up_to(self, delivery: Delivery) -> None:
        self.fold.as_of(delivery.message.seq)
