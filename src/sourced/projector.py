"""Projectors fold messages into read models and may react to what they have just projected."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Sequence
from typing import Any, Generic, NoReturn, TypeAlias, TypeVar

from sourced.actions import Actions, Batch
from sourced.codec import Codec, Record
from sourced.envelope import Message, is_text
from sourced.errors import DefinitionError
from sourced.evolving import Evolving
from sourced.fold import Fold
from sourced.messages import Payload
from sourced.reactor import Delivery, Memo, Want
from sourced.view import Shape, is_view

S = TypeVar("S")


class Projector(Evolving, Generic[S]):
    """State-stored: a row is loaded, evolved and saved with the offset, in one transaction: exactly once.

    The rows of a `View` are kept beside the log; for rows of your own there are `load` and `@sync`.
    """

    roles = ("evolve", "react", "sync", "after_commit")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for message in cls.tables.react.keys() - cls.tables.evolve.keys():
            handler = cls.tables.react[message]
            raise DefinitionError(
                f"{cls.__qualname__}.{handler.name} reacts to {message.__qualname__}, which it does not evolve; "
                f"add an @evolve method for it"
            )
        if is_view(cls.made_of) and cls.load is not Projector.load:
            raise DefinitionError(
                f"{cls.__qualname__}.load: the rows of {cls.made_of.__qualname__}, a View, are loaded for you; "
                f"leave it out, or make the state a class of your own"
            )

    @property
    def handles(self) -> tuple[type[Payload], ...]:  # type: ignore[override]
        return tuple(self.tables.evolve)

    @functools.cached_property
    def _shape(self) -> Shape[Any] | None:
        """How its rows are written down, if they are kept beside the log."""
        return Shape(type(self).__qualname__, self.made_of) if is_view(self.made_of) else None

    @functools.cached_property
    def _keyed(self) -> bool:
        """Messages of several streams may go into one row."""
        return type(self).key is not Projector.key

    @functools.cached_property
    def _loads(self) -> bool:
        return type(self).load is not Projector.load

    def key(self, message: Message[Any], /) -> str | None:
        """What the row is found by that a message goes into: any text. None: into none. By default the stream."""
        return message.stream

    def load(self, key: str, tx: Any, /) -> S | Awaitable[S | None] | None:
        """The stored row, or None when there is none yet; `tx` is the loading transaction. May be `async def`."""
        return None

    def beside(self) -> Projector[S] | None:
        """Another one of it, whose rows are in other places: a rebuild fills these. For rows of your own only."""
        return None

    def swap(self, beside: Any, tx: Any, /) -> Awaitable[None] | None:
        """Exchanges the rows of the two, in the transaction in which a rebuild takes the place of what was live."""

    def memo(self, stream: str) -> Memo:
        return RowsMemo(self, stream)

    def handle(self, delivery: Delivery) -> Actions:
        memo = delivery.memo
        assert isinstance(memo, RowsMemo | FoldMemo)
        row = memo.row(delivery.message)
        if row is None:
            return ()
        row.take(delivery.message)
        actions = () if delivery.replaying else self.react_to(row.fold.state, delivery)
        if isinstance(actions, list | tuple):
            return row.done(delivery, actions)
        return _done_async(row, delivery, actions)


class EventSourced(Projector[S]):
    """A projector that loads nothing: it rebuilds its state from the stream's history."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.key is not Projector.key:
            raise DefinitionError(
                f"{cls.__qualname__}.key: a state made of a stream's history is found by the stream; "
                f"make it a Projector, which loads and saves its rows"
            )

    def memo(self, stream: str) -> Memo:
        return FoldMemo(self, stream)


class Row:
    """A row while a round's messages go into it, maybe of several streams."""

    __slots__ = ("batch", "error", "fold", "key", "position", "ready", "revision")

    def __init__(self, projector: Projector[Any], key: str) -> None:
        self.key = key
        self.fold: Fold[Any] = Fold(projector, key)
        self.batch = Batch("" if projector._keyed else key, key=key)
        self.revision = 0  # of what is stored
        self.position = 0  # of the last message in it
        self.ready = False  # it is at hand, as of the end of the batch
        self.error: Exception | None = None  # why it cannot be

    def begin_with(self, state: Any) -> None:
        """What is stored, and then all of the batch: after a failure, the good part of it."""
        self.fold.restart()
        if state is not None:
            self.fold.state = state
        for message in self.batch.events:
            self.fold.apply(message)
        self.ready = True

    def take(self, message: Message[Any]) -> None:
        if self.error:
            raise self.error
        self.ready = False  # until this message is through
        self.fold.apply(message)

    def done(self, delivery: Delivery, actions: Any) -> Any:
        self.batch.evolved(delivery.message, delivery.replaying)
        self.ready = True
        return actions

    def drop(self, message: Message[Any]) -> None:
        """It failed after all, or half way."""
        self.ready = False
        if self.batch.events and self.batch.events[-1].id == message.id:
            self.batch.events.pop()


class RowsMemo(Memo):
    """A projector's stream in a round. The rows its messages go into live elsewhere, so nothing is kept."""

    __slots__ = ("projector", "rows")

    def __init__(self, projector: Projector[Any], stream: str) -> None:
        super().__init__(stream)
        self.projector = projector
        self.rows: dict[str, Row] = {}  # those of the whole round

    def row(self, message: Message[Any]) -> Row | None:
        key = self.key(message)
        return None if key is None else self.rows[key]

    def torn(self, message: Message[Any]) -> bool:
        """A failure has left its row in doubt: that has to be brought back before anything more goes into it."""
        try:
            row = self.row(message)
        except Exception:
            return False  # which is for the message to fail by
        return row is not None and not (row.ready or row.error)

    def back_to(self, mark: tuple[int, int], message: Message[Any]) -> None:
        super().back_to(mark, message)
        with contextlib.suppress(Exception):  # it failed because it has no key
            row = self.row(message)
            if row is not None:
                row.drop(message)

    def key(self, message: Message[Any]) -> str | None:
        if not self.projector._keyed:
            return self.stream
        key = self.projector.key(message)
        if key is not None and not (isinstance(key, str) and key and is_text(key) and "\0" not in key):
            self._refuse(key)
        return key

    def _refuse(self, key: object) -> NoReturn:
        raise TypeError(f"{type(self.projector).__qualname__}.key returned {key!r}; a key is text, or None for no row")


class FoldMemo(Memo):
    """The fold of a stream's history as of the message being handled, kept between rounds; a row of its own."""

    __slots__ = ("fold",)

    keep = True
    revision = 0
    position = 0
    error = None

    def __init__(self, projector: Projector[Any], stream: str) -> None:
        super().__init__(stream)
        self.fold: Fold[Any] = Fold(projector, stream)

    @property
    def key(self) -> str:
        return self.stream

    @property
    def ready(self) -> bool:
        return not self.tainted

    def row(self, message: Message[Any]) -> FoldMemo:
        return self

    def wants(self, deliveries: Sequence[Delivery]) -> Sequence[Want]:
        if self.fold.seq and deliveries and deliveries[0].message.seq <= self.fold.seq:
            self.fold.restart()  # a replay starts over
        upto = deliveries[-1].message.seq if deliveries else self.batch.events[-1].seq
        return (Want(self.stream, self.fold.seq, upto, self._take),)

    def _take(self, records: Sequence[Record], codec: Codec) -> None:
        self.fold.hold(records, codec)
        if self.batch.events:
            self.fold.as_of(self.batch.events[-1].seq)

    def restart(self) -> None:
        super().restart()
        self.fold.restart()

    def take(self, message: Message[Any]) -> None:
        self.tainted = True  # until this message is through
        self.fold.as_of(message.seq)

    def done(self, delivery: Delivery, actions: Any) -> Any:
        self.batch.evolved(delivery.message, delivery.replaying)
        self.tainted = False
        return actions


AnyRow: TypeAlias = Row | FoldMemo


async def _done_async(row: AnyRow, delivery: Delivery, actions: Any) -> Any:
    return row.done(delivery, await actions)
