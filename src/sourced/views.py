"""`app.views(CartListings)`: the rows of a projector, as they are kept beside the log."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from sourced.errors import DefinitionError, Invalid
from sourced.projector import Projector
from sourced.runtime.engine import Engine
from sourced.runtime.programs import Program, Transact
from sourced.store import Equal, ViewRow
from sourced.verbs import Awaiting, Blocking, Side, verb
from sourced.view import NOTHING, Shape, View

V = TypeVar("V", bound=View)


class ViewVerbs(Side, Generic[V]):
    """Rows to be read; what you change in one of them stays with you."""

    _group: str
    _shape: Shape[V]

    @verb
    def get(self, key: str) -> Program[V | None]:
        """The row, or None when there is none."""
        found = yield Transact(self._engine.store.views(self._group, [key]), reading=True)
        body = found[key].body if key in found else NOTHING
        return None if body == NOTHING else self._shape.read(key, body)

    @verb
    def all(self, *, after: str = "", limit: int | None = None) -> Program[dict[str, V]]:
        """Rows by their keys, in order of the keys; a page at a time with `limit`, going on `after` the last key."""
        return (yield from self._page(after, limit, ()))

    @verb
    def find(self, /, *, after: str = "", limit: int | None = None, **fields: Any) -> Program[dict[str, V]]:
        """The rows whose fields hold these values: text, numbers, truth, or None; in order of their keys."""
        return (yield from self._page(after, limit, self._shape.equal(fields)))

    @verb
    def count(self, /, **fields: Any) -> Program[int]:
        """How many rows there are, or how many hold these values."""
        return (yield Transact(self._engine.store.count_views(self._group, self._shape.equal(fields)), reading=True))

    def _page(self, after: str, limit: int | None, equal: tuple[Equal, ...]) -> Program[dict[str, V]]:
        if limit is not None and limit < 0:
            raise Invalid("views", {"limit": f"expected 0 or more, or None for all, found {limit}"})
        op = self._engine.store.page_views(self._group, after=after, limit=limit, equal=equal)
        rows: list[ViewRow] = yield Transact(op, reading=True)
        return {row.key: self._shape.read(row.key, row.body or NOTHING) for row in rows}

    def __init__(self, client: Any, projector: type[Projector[V]] | str) -> None:
        self._client = client
        self._engine: Engine = client._engine
        found = self._engine.router.group(projector)
        shape = found._shape if isinstance(found, Projector) else None
        if shape is None:
            raise DefinitionError(
                f"views({type(found).__qualname__}): expected a projector of a View, whose rows are kept here; "
                f"this one's state is {getattr(found, 'made_of', None)!r}"
            )
        self._group, self._shape = found.group, shape

    def _perform(self, program: Any) -> Any:
        return self._client._perform(program)


class Views(ViewVerbs[V], Blocking):
    """What `app.views` gives you."""


class AsyncViews(ViewVerbs[V], Awaiting):
    """What `app.aio.views` gives you."""
