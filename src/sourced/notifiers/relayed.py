"""Wake-ups between processes: what one commits, the others hear of through the store they share."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

from sourced.notifier import Listener, Notifier, Relay

log = logging.getLogger("sourced")

BREATH = 0.002  # seconds: commits that come closer together than this are told as one


class RelayedNotifier:
    """Local listeners hear at once; other processes are told by a thread, so that no commit waits for that."""

    def __init__(self, local: Notifier, relay: Relay) -> None:
        self._local = local
        self._relay = relay
        self._news = threading.Event()
        self._closed = threading.Event()
        self._teller: threading.Thread | None = None
        self._ears: _Ears | None = None
        self._guard = threading.Lock()

    def notify(self) -> None:
        self._local.notify()
        if self._relay.silent:
            return
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
            try:
                self._relay.tell()
            except Exception as error:
                log.warning("other processes were not woken, they look by themselves: %s", error)
            self._closed.wait(BREATH)

    @contextlib.contextmanager
    def listen(self) -> Iterator[Listener]:
        with self._local.listen() as listener:
            with self._guard:
                self._ears = self._ears or _Ears(self._relay, self._local.notify)
                self._ears.listeners += 1
                ears = self._ears
            try:
                yield listener
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
        if self._teller is not None:
            self._teller.join(1)


class _Ears:
    """A thread that hears what other processes tell, as long as anybody here listens."""

    def __init__(self, relay: Relay, hear: Callable[[], None]) -> None:
        self.listeners = 0
        self._relay = relay
        self._deaf = threading.Event()
        self._thread = threading.Thread(target=relay.hear, args=(hear, self._deaf), name="sourced-ears", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._deaf.set()
        self._relay.rouse()
        self._thread.join(1)
