"""Everything that can be asked of a to-do list, and everything that can have happened to one."""

from __future__ import annotations

from typing import Annotated

from sourced import Command, Event, Meta

Name = Annotated[str, Meta(min_length=1, max_length=80, pattern=r"\S")]
Text = Annotated[str, Meta(min_length=1, max_length=500, pattern=r"\S")]

# -- what people may ask for -------------------------------------------------------------------------------------------


class TodoCommand(Command, namespace="todos"):
    """The family a browser may send."""


class CreateList(TodoCommand):
    name: Name


class RenameList(TodoCommand):
    name: Name


class AddItem(TodoCommand):
    text: Text


class EditItem(TodoCommand):
    item_id: str
    text: Text


class ToggleItem(TodoCommand):
    item_id: str


class RemoveItem(TodoCommand):
    item_id: str


class MoveItem(TodoCommand):
    """To a place in the list, counted from 0."""

    item_id: str
    to: int


class ExpandItem(TodoCommand):
    """Into several smaller ones, with somebody's help."""

    item_id: str


class ArchiveList(TodoCommand): ...


class DeleteList(TodoCommand): ...


# -- what only other parts of the program ask for ----------------------------------------------------------------------


class ListCommand(Command, namespace="todos"):
    """What the browser may not send."""


class ConfirmName(ListCommand):
    name: str


class RefuseName(ListCommand):
    name: str


class ReplaceItem(ListCommand):
    item_id: str
    lines: list[str]


class GiveUpExpansion(ListCommand):
    item_id: str
    reason: str


class NoteDispatch(ListCommand):
    item_id: str
    service: str


# -- what happened -----------------------------------------------------------------------------------------------------


class TodoEvent(Event, namespace="todos"): ...


class ListCreated(TodoEvent): ...


class NameWanted(TodoEvent):
    name: str


class ListNamed(TodoEvent):
    name: str
    before: str


class NameTaken(TodoEvent):
    name: str


class NameGivenUp(TodoEvent):
    """It was reserved, and meanwhile another one is wanted."""

    name: str


class ItemAdded(TodoEvent):
    item_id: str
    text: str


class ItemDuplicated(TodoEvent):
    """It was not added, or not changed: another one says the same."""

    item_id: str
    text: str


class ItemTextChanged(TodoEvent):
    item_id: str
    text: str


class ItemDone(TodoEvent):
    item_id: str
    text: str


class ItemReopened(TodoEvent):
    item_id: str


class ItemRemoved(TodoEvent):
    item_id: str


class ItemMoved(TodoEvent):
    item_id: str
    to: int


class ExpansionStarted(TodoEvent):
    item_id: str
    text: str


class ItemReplaced(TodoEvent):
    item_id: str


class ExpansionGivenUp(TodoEvent):
    item_id: str
    reason: str


class DispatchNoted(TodoEvent):
    item_id: str
    service: str


class ListArchived(TodoEvent): ...


class ListDeleted(TodoEvent): ...
