"""Rebuilds that people begin here: each goes on in a thread of its own, and is gone on with if this process ends."""

from __future__ import annotations

import threading
from typing import Any

from sourced.app import Sourced


class Builders:
    """One for each group at most; whoever comes later only looks on."""

    def __init__(self, app: Sourced) -> None:
        self._app = app
        self._threads: dict[str, threading.Thread] = {}
        self.failed: dict[str, Exception] = {}  # group → how the last one ended that did not come to its end

    async def rebuild(self, group: str, *, reason: str, by: str, dry_run: bool) -> Any:
        """What would be done, or is being done from now on; the act itself is told in the log when it is done."""
        planned = await self._app.aio.rebuild(group, reason=reason, by=by, dry_run=True)
        if not dry_run and not self.at_work(group):
            self.failed.pop(group, None)
            thread = threading.Thread(
                target=self._build, args=(group, reason, by), name=f"rebuild of {group}", daemon=True
            )
            self._threads[group] = thread
            thread.start()
        return planned

    def at_work(self, group: str) -> bool:
        return group in self._threads and self._threads[group].is_alive()

    def _build(self, group: str, reason: str, by: str) -> None:
        try:
            self._app.rebuild(group, reason=reason, by=by)
        except Exception as error:
            self.failed[group] = error
