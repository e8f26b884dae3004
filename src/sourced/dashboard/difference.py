"""What one message did to a state: field by field, from before to after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

MOST = 200  # changes; more than that nobody reads


class Change(NamedTuple):
    """A place in the state, and what was there before and is there now; None where there is nothing."""

    path: str
    before: str | None
    after: str | None


def plain(state: Any) -> Any:
    """A state as plain values, whatever it is made of."""
    return msgspec.to_builtins(state, enc_hook=_hook, str_keys=True)


def changes(before: Any, after: Any) -> list[Change]:
    found = _walk("", plain(before), plain(after))
    return [change for _, change in zip(range(MOST), found, strict=False)]


def _walk(path: str, before: Any, after: Any) -> Iterator[Change]:
    if before == after:
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in {**before, **after}:
            yield from _walk(f"{path}.{key}".lstrip("."), before.get(key, _NOTHING), after.get(key, _NOTHING))
    elif isinstance(before, Sequence) and isinstance(after, Sequence) and not isinstance(before, str):
        for at in range(max(len(before), len(after))):
            yield from _walk(f"{path}[{at}]", _at(before, at), _at(after, at))
    else:
        yield Change(path or "state", _said(before), _said(after))


class _Nothing:
    """There is nothing at this place."""


_NOTHING = _Nothing()


def _at(values: Sequence[Any], at: int) -> Any:
    return values[at] if at < len(values) else _NOTHING


def _said(value: Any) -> str | None:
    return None if value is _NOTHING else msgspec.json.encode(value).decode()


def _hook(value: Any) -> Any:
    """Objects of the user's own classes show their fields; everything else how it calls itself."""
    return dict(vars(value)) if hasattr(value, "__dict__") else repr(value)
