"""What a thread waits with until a file may have been written to: on Linux the kernel tells, elsewhere it looks."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import sys
import threading

LOOK = 0.02  # seconds between looks where nobody tells

_MODIFIED = 2  # inotify's word for it


class Looking:
    """Nobody tells: it is time to look again and again."""

    tells = False

    def __init__(self) -> None:
        self._bell = threading.Lock()  # half the price of an event that is waited for again and again
        self._bell.acquire()

    def ring(self) -> None:
        """Ends a rest, or a wait."""
        with contextlib.suppress(RuntimeError):  # it rings already
            self._bell.release()

    def rest(self, seconds: float) -> None:
        self._bell.acquire(timeout=seconds)

    def wait(self, seconds: float) -> bool:
        """Whether the file was written to, as far as one is told; for so long at most."""
        self.rest(min(seconds, LOOK))
        return False

    def close(self) -> None:
        """Nobody waits any more, and nobody rings."""


class Watching(Looking):
    """The kernel tells, until that turns out not to be so; `OSError` where it does not."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.tells = True
        self._told = _watched(path)
        self._rung = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._either = select.poll()
        self._either.register(self._told, select.POLLIN)
        self._either.register(self._rung, select.POLLIN)

    def ring(self) -> None:
        super().ring()
        os.eventfd_write(self._rung, 1)

    def wait(self, seconds: float) -> bool:
        if not self.tells:
            return super().wait(seconds)
        ready = {descriptor for descriptor, _ in self._either.poll(seconds * 1000)}
        if self._rung in ready:
            os.eventfd_read(self._rung)
        if self._told in ready:
            os.read(self._told, 65_536)  # however often
        return self._told in ready

    def close(self) -> None:
        os.close(self._told)
        os.close(self._rung)


def watching(path: str) -> Looking:
    """The best there is here."""
    try:
        return Watching(path)
    except OSError:
        return Looking()


def _watched(path: str) -> int:
    if sys.platform != "linux":
        raise OSError("the kernel is asked in the words of Linux")
    kernel = ctypes.CDLL(None, use_errno=True)
    descriptor: int = kernel.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "there are too many who watch files")
    if kernel.inotify_add_watch(descriptor, os.fsencode(path), _MODIFIED) < 0:
        os.close(descriptor)
        raise OSError(ctypes.get_errno(), "it cannot be watched", path)
    return descriptor
