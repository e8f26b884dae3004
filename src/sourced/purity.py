"""Deciding and evolving cause nothing: who has something stored in the middle of it is told what to do instead."""

from __future__ import annotations

import threading
from typing import NoReturn

from sourced.errors import DefinitionError


class _Here(threading.local):
    deciding = ""  # the class and method at it, in this thread
    evolving = ""


here = _Here()


class evolving:  # noqa: N801  (a function in all but its cost)
    """For as long as history is folded into a state of somebody's."""

    __slots__ = ("_name", "_outer")

    def __init__(self, owner: object) -> None:
        self._name = type(owner).__qualname__

    def __enter__(self) -> None:
        self._outer, here.evolving = here.evolving, self._name

    def __exit__(self, *_: object) -> None:
        here.evolving = self._outer


def refuse_to_store() -> NoReturn:
    doing = f"{here.evolving} is evolving" if here.evolving else f"{here.deciding} is deciding"
    instead = "whoever reads the history would do it again" if here.evolving else "it may be decided again"
    raise DefinitionError(
        f"{doing}, and nothing else may be stored meanwhile: {instead}; "
        f"leave that to a @react method, which yields commands and dispatch(command, to=…)"
    )
