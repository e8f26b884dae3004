"""What everything that handles messages is built on: a group, the messages it wants, and `handle(delivery)`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias, cast

import msgspec

from sourced.actions import Action, Actions, Batch, Policy, PolicyMethod
from sourced.codec import Codec, Record
from sourced.envelope import Message
from sourced.ids import new_stream_id
from sourced.messages import Payload, snake
from sourced.snapshots import Snapshot
from sourced.view import ViewRow

StartFrom: TypeAlias = Literal["beginning", "now"] | datetime | Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Want:
    """A piece of a stream's history that is needed before its messages can be handled, and who takes it."""

    stream: str
    after: int
    upto: int | None
    take: Callable[[Sequence[Record], Codec], None]


class Memo:
    """What a reactor remembers of one stream between messages; it can be dropped at any time and made anew."""

    __slots__ = ("background", "batch", "stream", "tainted", "trusting")

    keep = False  # worth keeping for the next round

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.batch = Batch(stream)
        self.background: Any = None  # where work may go on after the round, if anywhere
        self.tainted = False  # the state holds something that will not be stored
        self.trusting = False  # what follows on the state is taken for all that came since: the append is asked anyway

    def wants(self, deliveries: Sequence[Delivery]) -> Iterable[Want]:
        return ()

    @property
    def blank(self) -> bool:
        """It has read nothing yet, and a snapshot would save it from reading everything."""
        return False

    def begin_with(self, snapshot: Snapshot | None) -> None:
        """Takes a state that was written down, instead of the history it was made of."""

    def snapshot(self) -> tuple[Snapshot, int] | None:
        """What is to be written down now that the batch is stored, and how many of these are to stay."""
        return None

    def beside(self) -> Sequence[ViewRow]:
        """What is to be kept of the batch beside the log, under the name of the group."""
        return ()

    def placed(self, records: Sequence[Record]) -> None:
        """Takes note of where the messages of the batch were stored."""
        self.batch.placed(records)

    def torn(self, message: Message[Any]) -> bool:
        """What the message goes into was left in doubt by another stream's, and has to be brought back first."""
        return False

    def back_to(self, mark: tuple[int, int], message: Message[Any]) -> None:
        """Nothing of the message stays in the batch; what it did to the state is not known."""
        self.batch.back_to(mark)
        self.tainted = True

    def restart(self) -> None:
        """Forgets all but the batch; the next `wants` brings the state back to the end of the batch."""
        self.tainted = False


class Later:
    """An answer whose facts come from elsewhere: they are waited for by no event loop, and then made into actions."""

    __slots__ = ("future", "then")

    def __init__(self, future: Future[Any], then: Callable[[Any], Iterable[Action]]) -> None:
        self.future, self.then = future, then

    def __await__(self) -> Generator[Any, Any, Any]:
        return asyncio.wrap_future(self.future).__await__()


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One message on its way to one reactor."""

    message: Message[Any]
    replaying: bool  # it was handled before: change your own data, cause nothing
    now: datetime
    memo: Memo


class Reactor:
    """Handles messages of the types in `handles`, in order per stream; actors and projectors are made of this."""

    group: str = ""
    handles: tuple[type[Payload], ...] = ()
    errors: Policy | PolicyMethod | None = None  # instead of the app's error policy
    start_from: StartFrom = "beginning"  # or "now", or a time; pinned to a position when first registered
    batch_size: int | None = None

    def __init_subclass__(cls, *, group: str | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if group is not None or "group" not in vars(cls):
            cls.group = group or cls.__qualname__.rpartition("<locals>.")[2]

    def handle(self, delivery: Delivery, /) -> Actions:
        """What shall happen because of one message; nothing, an empty list or None just acknowledges it."""
        return self.handle_batch([delivery])

    def handle_batch(self, deliveries: Sequence[Delivery], /) -> Actions:
        """Instead of `handle`: all that one stream got in a round at once, with one answer for all of it.

        When it raises, nothing of it was handled; then they come one by one, until the one to blame is found.
        """
        raise NotImplementedError

    @property
    def policy(self) -> Policy | None:
        return cast("Policy | None", self.errors)  # a method is bound by now

    @property
    def in_batches(self) -> bool:
        return type(self).handle_batch is not Reactor.handle_batch

    def memo(self, stream: str) -> Memo:
        return Memo(stream)

    def closing(self, memo: Memo) -> Iterable[Action]:
        """What belongs to the batch as a whole, asked for once all of it has been handled."""
        return ()

    def messages(self) -> Iterable[type[Payload]]:
        """Every message class this reactor brings along to the app it is registered with."""
        return self.handles

    def on_start(self) -> Awaitable[None] | None:
        """Runs after a person started the group again."""

    def on_stop(self, reason: str, /) -> Awaitable[None] | None:
        """Runs after a person stopped the group."""

    def on_reset(self, tx: Any, /) -> Awaitable[None] | None:
        """Runs in the transaction that resets the group, before anything is replayed: empty your tables here."""

    @classmethod
    def new_stream(cls) -> str:
        """A stream of its own for a message dispatched `to` this class."""
        return new_stream_id(snake(cls.__name__))
