"""What a store's port says of views: the rows that projectors keep beside the log, and those built beside them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from sourced.ops import Op
from sourced.terms import Group, Place
from sourced.view import Equal, ViewRow


class ViewStore(Protocol):
    """The rows of a group, each found by its key."""

    def views(self, group: str, keys: Collection[str]) -> Op[dict[str, ViewRow]]:
        """Those of these rows that there are."""
        ...

    def hold_views(self, group: str, revisions: Mapping[str, int]) -> Op[list[str]]:
        """Keeps others from writing to these rows until the end of the transaction, also where there is none yet.

        The keys of those that are not at the revision that is given: somebody else has written to them meanwhile.
        Everybody takes rows in the same order, so that no two ever wait for each other.
        """
        ...

    def save_views(self, group: str, rows: Sequence[ViewRow]) -> Op[None]:
        """Writes rows, no key twice, whatever is there, and takes away those without a body."""
        ...

    def page_views(
        self, group: str, *, after: str = "", limit: int | None = None, equal: Sequence[Equal] = ()
    ) -> Op[list[ViewRow]]:
        """Rows in order of their keys, from after one on; of all that are asked for each field holds the value."""
        ...

    def count_views(self, group: str, equal: Sequence[Equal] = ()) -> Op[int]: ...

    def drop_views(self, group: str, limit: int | None = None) -> Op[int]:
        """Takes rows away, all of them or as many as `limit`; how many there were."""
        ...

    # -- rows that are built beside them

    def build_beside(self, group: str, beside: str, view: str, *, afresh: bool = False) -> Op[Group]:
        """A second group, that starts where the first one did and keeps rows of its own, under the name `view`.

        One that is active already goes on, unless `afresh`; any other is forgotten first, and what it had come to.
        """
        ...

    def places(self, group: str) -> Op[dict[int, Place]]:
        """How far it has come, shard by shard, all of them."""
        ...

    def seize(self, group: str) -> Op[Group]:
        """Takes every shard out of whosever hand; what is under way there changes nothing any more.

        Until the end of the transaction nobody gets any, and nobody writes to the rows of the group. How it stands.
        """
        ...

    def swap(self, group: str, beside: str) -> Op[None]:
        """Exchanges the rows of two groups and how far they have come, for those who have seized both.

        What either has handled it goes on having handled: it is a replay. Streams that wait stay where they are.
        """
        ...

    def sweep_views(self, limit: int) -> Op[int]:
        """Takes away rows that are no group's any more, as many as `limit`; how many there were."""
        ...
