"""When an actor's state is written down, so that the next one who needs it reads on from there, and in which shape."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Any

import msgspec

from sourced.errors import DefinitionError

log = logging.getLogger("sourced")


class Snapshot(msgspec.Struct, frozen=True):
    """A state as of a seq; a fingerprint that is not the code's means: ignore it and replay."""

    group: str
    stream: str
    seq: int
    state: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Snapshots:
    """An actor's policy: a snapshot whenever its stream crosses a multiple of `every`."""

    every: int
    keep: int
    fingerprint: str  # of the state's shape: a snapshot that carries another one is not read
    state: Any

    def due(self, before: int, after: int) -> bool:
        """Crossed, not met: a command may bring several events, and jump over the multiple."""
        return after // self.every > before // self.every

    def encode(self, state: Any) -> str:
        return msgspec.json.encode(state).decode()

    def decode(self, text: str, fingerprint: str) -> Any:
        """The state, or None when it cannot be used: then everything is read, as if there were no snapshot."""
        if fingerprint != self.fingerprint:
            return None
        try:
            return msgspec.json.decode(text, type=self.state)
        except msgspec.MsgspecError as error:
            log.warning("a snapshot cannot be read, the whole stream is: %s", error)
            return None


def snapshots_of(where: str, state: Any, *, every: int, keep: int, version: int) -> Snapshots | None:
    """The policy as declared; None when there is none."""
    for name, value, least in (("snapshot_every", every, 0), ("snapshots_kept", keep, 1)):
        if value < least:
            raise DefinitionError(f"{where}.{name}: expected {least} or more, found {value}")
    if not every:
        return None
    try:
        shape = msgspec.json.encode(msgspec.json.schema(state), order="deterministic")
    except TypeError as error:
        raise DefinitionError(
            f"{where}.snapshot_every: the state {getattr(state, '__qualname__', state)} cannot be written as JSON and "
            f"read back ({error}); make it a dataclass or a struct of plain values, or leave snapshots out"
        ) from error
    print_of = hashlib.sha256(b"%d %s" % (version, shape)).hexdigest()[:16]
    return Snapshots(every, keep, print_of, state)
