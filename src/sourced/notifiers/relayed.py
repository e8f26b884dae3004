"""Wake-ups and notes between processes: what one commits, the others hear of through the store they share."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

from sourced.errors import Unavailable
from sourced.forks import begin_anew_in_children
from sourced.notifier import Hearing, Listener, Mailbox, Notifier, Relay, Types, together
from sourced.ops import Op

log = logging.getLogger("sourced")

BREATH = 0.002  # seconds: commits that come closer together than this are told as one
PATIENCE = 10.0  # seconds: how long one who subscribes waits until it can hear


class RelayedNotifier:
    """Local listeners hear at once; other processes are told by a thread, so that no commit waits for that."""

    def __init__(self, local: Notifier, relay: Relay) -> None:
        self._local = local
        self._relay = relay
        self._closed = threading.Event()
        self.forked()
        begin_anew_in_children(self)

    def forked(self) -> None:
        """Its threads are not here."""
        self._news = threading.Event()
        self._types: Types = frozenset()  # what is to be told
        self._teller: threading.Thread | None = None
        self._ears: _Ears | None = None
        self._guard = threading.Lock()

    def notify(self, types: Types = None) -> None:
        self._local.notify(types)
        if self._relay.silent:
            return
        with self._guard:
            self._types = together(self._types, types)
        if not self._news.is_set():
            self._news.set()
        if self._teller is None:
            with self._guard:
                if self._teller is None and not self._closed.is_set():
                    self._teller = threading.Thread(target=self._tell, name="sourced-teller", daemon=True)
                    self._teller.start()

    def _tell(self) -> None:
        while not self._closed.is_set():
            self._news.wait()
            self._news.clear()
            if self._closed.is_set():
                return
            with self._guard:
                types, self._types = self._types, frozenset()
            try:
                self._relay.tell(types)
            except Exception as error:
                log.warning("other processes were not woken, they look by themselves: %s", error)
            self._closed.wait(BREATH)

    @contextlib.contextmanager
    def listen(self) -> Iterator[Listener]:
        with self._local.listen() as listener, self._hearing():
            yield listener

    # -- notes

    def say(self, channel: str, text: str) -> Op[None]:
        """Everybody hears it through the store, this process too: in one order, and not before it is true."""
        return self._relay.say(channel, text)

    def note(self, channel: str, text: str) -> None:
        self._local.note(channel, text)

    def lapse(self) -> None:
        self._local.lapse()

    @contextlib.contextmanager
    def subscribe(self, channels: frozenset[str]) -> Iterator[Mailbox]:
        with self._local.subscribe(channels) as mailbox, self._hearing() as ears:
            if not ears.ready.wait(PATIENCE):
                raise Unavailable("subscribe", f"the store that notes come through was not reached in {PATIENCE:g} s")
            yield mailbox

    @contextlib.contextmanager
    def _hearing(self) -> Iterator[_Ears]:
        with self._guard:
            self._ears = self._ears or _Ears(self._relay, self._local)
            self._ears.listeners += 1
            ears = self._ears
        try:
            yield ears
        finally:
            with self._guard:
                ears.listeners -= 1
                if not ears.listeners:
                    self._ears = None
            if not ears.listeners:
                ears.close()

    def close(self) -> None:
        self._closed.set()
        self._news.set()
        self._local.close()
        if self._teller is not None:
            self._teller.join(1)


class _Ears(Hearing):
    """A thread that hears what other processes tell, as long as anybody here listens."""

    def __init__(self, relay: Relay, local: Notifier) -> None:
        self.listeners = 0
        self.ready = threading.Event()  # it can hear
        self._local = local
        self._relay = relay
        self._deaf = threading.Event()
        self._thread = threading.Thread(target=relay.hear, args=(self, self._deaf), name="sourced-ears", daemon=True)
        self._thread.start()

    def news(self, types: Types = None) -> None:
        self.ready.set()
        self._local.notify(types)

    def note(self, channel: str, text: str) -> None:
        self._local.note(channel, text)

    def lapse(self) -> None:
        self._local.lapse()

    def close(self) -> None:
        self._deaf.set()
        self._relay.rouse()
        self._thread.join(1)
