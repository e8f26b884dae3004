"""The rows of a projector: `app.views(CartListings)` reads them, `app.rebuild(CartListings)` makes them anew."""

from __future__ import annotations

from typing import Any, Generic, TypeAlias, TypeVar

from sourced.audit import GroupRebuilt, GroupRestored
from sourced.errors import DefinitionError, InTransaction, Invalid
from sourced.ops import Op
from sourced.projector import Projector
from sourced.runtime.engine import committed
from sourced.runtime.programs import Afterwards, Program, Transact
from sourced.runtime.rebuild import Rebuild, Watching, beside_of, rebuilding, restoring
from sourced.store import Equal, ViewRow
from sourced.verbs import Awaiting, Blocking, Part, Side, verb
from sourced.view import NOTHING, View

V = TypeVar("V", bound=View)


AnyProjector: TypeAlias = "type[Projector[Any]] | Projector[Any] | str"


class RowVerbs(Side):
    """To build rows anew, and to go back."""

    _connection: Any

    @verb
    def rebuild(
        self, projector: AnyProjector, *, afresh: bool = False, after_commit: bool = False,
        watching: Watching | None = None, by: str = "", reason: str = "", dry_run: bool = False,
    ) -> Program[GroupRebuilt]:  # fmt: skip
        """Builds a projector's rows anew beside the live ones, which go on, and lets them take their place.

        One that was left in the middle goes on there, unless `afresh`; whoever else calls it meanwhile helps with it.
        Nothing is sent by it, and no `@after_commit` runs unless that is asked for. `watching` is told how far it is.
        """
        live = self._projector(projector)
        beside_of(live)  # which says what cannot be
        event: GroupRebuilt = yield Transact(rebuilding(self._engine, live, by, reason), reading=True)
        if dry_run:
            return event
        work = Rebuild(self._engine, live, afresh=afresh, after_commit=after_commit, watching=watching, event=event)
        return (yield from work.program())

    @verb
    def _helped(self, projector: AnyProjector, *, after_commit: bool = False) -> Program[None]:
        """A hand in a rebuild that somebody else has begun, and will finish."""
        live = self._projector(projector)
        event: GroupRebuilt = yield Transact(rebuilding(self._engine, live, "", ""), reading=True)
        yield from Rebuild(self._engine, live, after_commit=after_commit, event=event).help()

    @verb
    def restore(
        self, projector: AnyProjector, *, by: str = "", reason: str = "", dry_run: bool = False
    ) -> Program[GroupRestored]:  # fmt: skip
        """Lets the rows from before the last rebuild take the place of the live ones; what is new goes into them."""
        engine, live = self._engine, self._projector(projector)
        event = GroupRestored(by=by, reason=reason, group=live.group, was="active")

        def op() -> Op[GroupRestored]:
            return restoring(engine, live, event, dry_run=dry_run)

        restored: GroupRestored = yield Transact(op(), reading=dry_run, anew=op)
        if not dry_run:
            engine.memos.forget(live)
            yield Afterwards(committed(engine, ()))
        return restored

    def _projector(self, projector: AnyProjector) -> Projector[Any]:
        if self._connection is not None:
            raise InTransaction("rows are exchanged in a transaction of their own; ask the app itself")
        found = self._engine.router.group(projector)
        if not isinstance(found, Projector):
            name = type(found).__qualname__
            raise DefinitionError(
                f"{found.group}: expected a projector, whose rows can be made anew; {name} keeps none"
            )
        return found


class ViewVerbs(Part, Generic[V]):
    """Rows to be read; what you change in one of them stays with you."""

    def __init__(self, client: Any, projector: type[Projector[V]] | str) -> None:
        super().__init__(client)
        found = self._engine.router.group(projector)
        shape = found._shape if isinstance(found, Projector) else None
        if shape is None:
            raise DefinitionError(
                f"views({type(found).__qualname__}): expected a projector of a View, whose rows are kept here; "
                f"this one's state is {getattr(found, 'made_of', None)!r}"
            )
        self._group, self._shape = found.group, shape

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


class Views(ViewVerbs[V], Blocking):
    """What `app.views` gives you."""


class AsyncViews(ViewVerbs[V], Awaiting):
    """What `app.aio.views` gives you."""
