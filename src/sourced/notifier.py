"""The port for wake-ups and notes: hints that something happened, which nobody relies on and nothing remembers."""

from __future__ import annotations

import threading
from collections.abc import Set
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

import msgspec

from sourced.ops import Op

Types: TypeAlias = "Set[str] | None"
"""The types of the messages that were stored, as far as a hint goes; None when it may be anything."""


class Note(msgspec.Struct, frozen=True):
    """Something that was published: never stored, heard by who listens at that moment, at most once.

    `lost`: notes before this one are missing, because who listens was too slow or could not hear for a while.
    """

    channel: str
    data: Any
    lost: bool = False


class Listener(Protocol):
    """One who waits for the next hint."""

    def wait(self, seconds: float) -> bool:
        """Until a hint comes that was sent after the last `wait` ended, or the time is up."""
        ...

    async def wait_async(self, seconds: float) -> bool: ...

    def news(self) -> Types:
        """What the hints since the last time were about."""
        ...


class Mailbox(Protocol):
    """The notes for one who subscribed, in order."""

    def take(self, seconds: float | None = None) -> Note | None:
        """The next one; None when the time is up, or when it was closed and nothing is left in it."""
        ...

    async def take_async(self, seconds: float | None = None) -> Note | None: ...

    def close(self) -> None:
        """Nothing more comes in; whoever waits is told."""
        ...

    @property
    def closed(self) -> bool: ...


class Notifier(Protocol):
    def notify(self, types: Types = None) -> None:
        """Something was committed; always called after the commit."""
        ...

    def listen(self) -> AbstractContextManager[Listener]: ...

    def say(self, channel: str, text: str) -> Op[None] | None:
        """What says a note in a transaction, to be heard when that has committed; None where `note` is all there is."""
        ...

    def note(self, channel: str, text: str) -> None:
        """Puts a note into the mailboxes of this process."""
        ...

    def lapse(self) -> None:
        """Notes are missing, nobody knows which: everybody in this process who listens is told."""
        ...

    def subscribe(self, channels: frozenset[str]) -> AbstractContextManager[Mailbox]:
        """What is published from the moment this has been entered."""
        ...

    def close(self) -> None: ...


class Hearing(Protocol):
    """What a process does with what it hears."""

    def news(self, types: Types = None) -> None:
        """Another process has committed, or may have while this one was deaf."""
        ...

    def note(self, channel: str, text: str) -> None: ...

    def lapse(self) -> None:
        """It was deaf for a while: notes are missing."""
        ...


class Relay(Protocol):
    """What a store that processes share does for wake-ups and notes between them."""

    silent: bool  # others hear of a commit without being told

    def tell(self, types: Types = None) -> None:
        """Others are to look."""
        ...

    def say(self, channel: str, text: str) -> Op[None]:
        """A note in this transaction: all who hear, this process too, get it when it has committed."""
        ...

    def hear(self, hearing: Hearing, deaf: threading.Event) -> None:
        """Passes on what other processes tell, and the notes of all; `news` first, once it can hear. Until `deaf`."""
        ...

    def rouse(self) -> None:
        """Lets `hear` notice soon that it is to end."""
        ...


def together(one: Types, other: Types) -> Types:
    return None if one is None or other is None else one | other
