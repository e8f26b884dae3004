"""The read model of the home page: a row for each list, kept beside the log."""

from __future__ import annotations

from datetime import datetime

from sourced import Deleted, Message, Projector, View, evolve
from sourced.demo.messages import (
    ItemAdded,
    ItemDone,
    ItemRemoved,
    ItemReopened,
    ItemReplaced,
    ListArchived,
    ListCreated,
    ListDeleted,
    ListNamed,
    NameTaken,
    NameWanted,
    TodoEvent,
)


class Listing(View):
    name: str = ""
    wanted: str = ""
    status: str = "active"
    items: dict[str, bool] = {}  # whether each of them is done
    members: list[str] = []
    created_at: datetime | None = None
    changed_at: datetime | None = None

    @property
    def title(self) -> str:
        return self.name or self.wanted or "Untitled"

    @property
    def done(self) -> int:
        return sum(self.items.values())

    @property
    def total(self) -> int:
        return len(self.items)


class Overview(Projector[Listing], group="todos.overview"):
    """Every event of a list says who worked on it, and when that was."""

    def before_evolve(self, state: Listing, message: Message[TodoEvent]) -> None:
        state.changed_at = message.created_at
        state.created_at = state.created_at or message.created_at
        member = message.metadata.get("username", "").lower()
        if member and member not in state.members:
            state.members.append(member)

    @evolve
    def created(self, row: Listing, event: ListCreated):
        row.status = "active"

    @evolve
    def name_wanted(self, row: Listing, event: NameWanted):
        row.wanted = event.name

    @evolve
    def named(self, row: Listing, event: ListNamed):
        row.name, row.wanted = event.name, ""

    @evolve
    def name_taken(self, row: Listing, event: NameTaken):
        row.wanted = ""

    @evolve
    def added(self, row: Listing, event: ItemAdded):
        row.items[event.item_id] = False

    @evolve
    def done(self, row: Listing, event: ItemDone):
        row.items[event.item_id] = True

    @evolve
    def reopened(self, row: Listing, event: ItemReopened):
        row.items[event.item_id] = False

    @evolve
    def removed(self, row: Listing, event: ItemRemoved | ItemReplaced):
        del row.items[event.item_id]

    @evolve
    def archived(self, row: Listing, event: ListArchived):
        row.status = "archived"

    @evolve
    def deleted(self, row: Listing, event: ListDeleted):
        return Deleted
