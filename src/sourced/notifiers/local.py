"""Wake-ups and notes inside one process, for threads and event loops alike."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Iterator

import msgspec

from sourced.forks import begin_anew_in_children
from sourced.notifier import Note, Types, together
from sourced.ops import Op

ROOM = 1_000  # notes that wait for one who is slow; when there are more, the oldest go


class LocalNotifier:
    """Every listener has a flag of its own, so that nobody takes another's hint away."""

    def __init__(self) -> None:
        self._listeners: set[LocalListener] = set()
        self._mailboxes: dict[LocalMailbox, frozenset[str]] = {}
        self._lock = threading.Lock()
        begin_anew_in_children(self)

    def forked(self) -> None:
        """Who listened is not here any more."""
        self._listeners, self._mailboxes, self._lock = set(), {}, threading.Lock()

    def notify(self, types: Types = None) -> None:
        if self._listeners:
            with self._lock:
                for listener in self._listeners:
                    listener.rouse(types)

    def close(self) -> None:
        for mailbox in [*self._mailboxes]:
            mailbox.close()

    @contextlib.contextmanager
    def listen(self) -> Iterator[LocalListener]:
        listener = LocalListener()
        with self._lock:
            self._listeners.add(listener)
        try:
            yield listener
        finally:
            with self._lock:
                self._listeners.discard(listener)

    # -- notes

    def say(self, channel: str, text: str) -> Op[None] | None:
        return None

    def note(self, channel: str, text: str) -> None:
        with self._lock:
            for mailbox, channels in self._mailboxes.items():
                if channel in channels:
                    mailbox.put(channel, text)

    def lapse(self) -> None:
        with self._lock:
            for mailbox in self._mailboxes:
                mailbox.lapse()

    @contextlib.contextmanager
    def subscribe(self, channels: frozenset[str]) -> Iterator[LocalMailbox]:
        mailbox = LocalMailbox()
        with self._lock:
            self._mailboxes[mailbox] = channels
        try:
            yield mailbox
        finally:
            with self._lock:
                del self._mailboxes[mailbox]
            mailbox.close()


class LocalMailbox:
    """Filled by whoever publishes, emptied by one who waits, who keeps nobody else waiting."""

    def __init__(self, room: int = ROOM) -> None:
        self._notes: deque[tuple[str, str, bool]] = deque()
        self._room = room
        self._lost = False
        self._lock = threading.Lock()
        self._bell = LocalListener()
        self.closed = False

    def put(self, channel: str, text: str) -> None:
        self._put((channel, text, False))

    def lapse(self) -> None:
        """Says so by itself: nobody knows when the next note comes."""
        self._put(("", "null", True))

    def _put(self, note: tuple[str, str, bool]) -> None:
        with self._lock:
            if self.closed:
                return
            if len(self._notes) == self._room:
                self._notes.popleft()
                self._lost = True
            self._notes.append(note)
        self._bell.rouse()

    def take(self, seconds: float | None = None) -> Note | None:
        while (note := self._next()) is None and not self.closed and self._bell.wait(seconds):
            pass
        return note or self._next()

    async def take_async(self, seconds: float | None = None) -> Note | None:
        while (note := self._next()) is None and not self.closed and await self._bell.wait_async(seconds):
            pass
        return note or self._next()

    def _next(self) -> Note | None:
        with self._lock:
            if not self._notes:
                return None
            channel, text, lost = self._notes.popleft()
            lost, self._lost = lost or self._lost, False
        return Note(channel, msgspec.json.decode(text), lost)

    def close(self) -> None:
        self.closed = True
        self._bell.rouse()


class LocalListener:
    """One who waits, in a thread or on an event loop."""

    def __init__(self) -> None:
        self._flag = threading.Event()
        self._news: Types = frozenset()
        self._lock = threading.Lock()
        self._waiting: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def rouse(self, types: Types = None) -> None:
        with self._lock:
            self._news = together(self._news, types)
        self._flag.set()
        if self._waiting:
            loop, event = self._waiting
            with contextlib.suppress(RuntimeError):  # the loop was closed while we looked
                loop.call_soon_threadsafe(event.set)

    def news(self) -> Types:
        with self._lock:
            news, self._news = self._news, frozenset()
        return news

    def wait(self, seconds: float | None) -> bool:
        roused = self._flag.wait(seconds)
        self._flag.clear()
        return roused

    async def wait_async(self, seconds: float | None) -> bool:
        event = asyncio.Event()
        self._waiting = (asyncio.get_running_loop(), event)
        try:
            if not self._flag.is_set():
                await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            return False
        finally:
            self._waiting = None
            self._flag.clear()
        return True
