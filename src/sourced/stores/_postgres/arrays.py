"""Lists as PostgreSQL's arrays: psycopg looks at every item for what it may be, and we know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any, TypeAlias

from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format


class Texts(tuple[str | None, ...]):
    """A text[]."""


class Integers(tuple[int | None, ...]):
    """An integer[]."""


class Bigints(tuple[int | None, ...]):
    """A bigint[]."""


class Times(tuple[datetime | None, ...]):
    """A timestamptz[]."""


Array: TypeAlias = "type[Texts | Integers | Bigints | Times]"

ARRAYS: Mapping[str, Array] = {"text": Texts, "integer": Integers, "bigint": Bigints, "timestamptz": Times}

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NULL = b"\xff\xff\xff\xff"


def teach(raw: Any) -> None:
    """Makes a connection know them, for itself; to whoever owns it nothing changes."""
    for kind, dumper in ((Texts, _Texts), (Integers, _Integers), (Bigints, _Bigints), (Times, _Times)):
        raw.adapters.register_dumper(kind, dumper)


class _Texts(Dumper):
    format = Format.BINARY
    oid = 1009

    def __init__(self, cls: type, context: AdaptContext | None = None) -> None:
        super().__init__(cls, context)
        spoken = self.connection.info.encoding if self.connection else "utf-8"
        self._encoding = "utf-8" if spoken == "ascii" else spoken

    def dump(self, obj: Sequence[str | None]) -> bytes:
        parts = [_head(25, obj)]
        encoding = self._encoding
        for each in obj:
            if each is None:
                parts.append(_NULL)
            else:
                text = each.encode(encoding)
                parts += (_integer(len(text)), text)
        return b"".join(parts)


class _Fixed(Dumper):
    """Items that all take the same room."""

    format = Format.BINARY
    item: int
    pair: Callable[[int, int], bytes]  # how long an item is, and the item
    size: int

    def dump(self, obj: Sequence[Any]) -> bytes:
        size, pair = self.size, self.pair
        return _head(self.item, obj) + b"".join([_NULL if each is None else pair(size, each) for each in obj])


class _Integers(_Fixed):
    oid, item, pair, size = 1007, 23, Struct("!ii").pack, 4


class _Bigints(_Fixed):
    oid, item, pair, size = 1016, 20, Struct("!iq").pack, 8


class _Times(_Bigints):
    """As PostgreSQL counts it: in microseconds of this millennium."""

    oid, item = 1185, 1184

    def dump(self, obj: Sequence[datetime | None]) -> bytes:
        return super().dump([None if each is None else (each - _EPOCH) // _MICROSECOND for each in obj])


_integer = Struct("!i").pack
_dimension = Struct("!iiiii").pack


def _head(item: int, values: Sequence[Any]) -> bytes:
    return _dimension(1, None in values, item, len(values), 1) if values else _EMPTY.pack(0, 0, item)


_EMPTY = Struct("!iii")
