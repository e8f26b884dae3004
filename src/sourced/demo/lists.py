"""A to-do list decides what may happen to it. This is the heart of the program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sourced import Actor, Message, Rejected, Rejection, decide, dispatch, evolve, react
from sourced.demo.messages import (
    AddItem,
    ArchiveList,
    ConfirmName,
    CreateList,
    DeleteList,
    DispatchNoted,
    EditItem,
    ExpandItem,
    ExpansionGivenUp,
    ExpansionStarted,
    GiveUpExpansion,
    ItemAdded,
    ItemDone,
    ItemDuplicated,
    ItemMoved,
    ItemRemoved,
    ItemReopened,
    ItemReplaced,
    ItemTextChanged,
    ListArchived,
    ListCreated,
    ListDeleted,
    ListNamed,
    MoveItem,
    NameGivenUp,
    NameTaken,
    NameWanted,
    NoteDispatch,
    RefuseName,
    RemoveItem,
    RenameList,
    ReplaceItem,
    TodoEvent,
    ToggleItem,
)
from sourced.demo.names import ReleaseName, ReserveName, name_stream

LONG = 40  # characters, from which on an item is worth expanding


class NotPossible(Rejection):
    """The list is not in a state to do that."""


class NoSuchItem(Rejection):
    """The list has no such item, or no longer."""


@dataclass
class Item:
    id: str
    text: str
    done: bool = False
    expanding: bool = False
    told: list[str] = field(default_factory=list)  # services that know of it being done

    @property
    def expandable(self) -> bool:
        return len(self.text) > LONG and not (self.done or self.expanding)


@dataclass
class ListState:
    id: str
    status: str = "new"  # then active, archived, deleted
    name: str = ""
    wanted: str = ""  # a name that is being asked for
    items: list[Item] = field(default_factory=list)
    notice: str = ""  # what went wrong last, until something goes well
    duplicate: str = ""  # the item that says the same already

    @property
    def title(self) -> str:
        return self.name or self.wanted or "Untitled"

    @property
    def done(self) -> int:
        return sum(item.done for item in self.items)

    def item(self, item_id: str) -> Item:
        found = next((item for item in self.items if item.id == item_id), None)
        if found is None:
            raise NoSuchItem(item_id)
        return found

    def saying(self, text: str) -> Item | None:
        return next((item for item in self.items if same(item.text, text)), None)


def same(one: str, other: str) -> bool:
    return one.strip().casefold() == other.strip().casefold()


class TodoList(Actor[ListState], group="todos.list"):
    """The stream of a list is its whole history; its state is what the page shows."""

    # -- from nothing to a list with a name of its own

    @decide
    def create(self, todo: ListState, command: CreateList):
        if todo.status != "new":
            raise NotPossible("this list exists already")
        yield ListCreated()
        yield NameWanted(command.name.strip())

    @decide
    def rename(self, todo: ListState, command: RenameList):
        expect_active(todo)
        if command.name.strip() != todo.title:
            yield NameWanted(command.name.strip())

    @react
    def reserve_name(self, todo: ListState, event: NameWanted):
        yield dispatch(ReserveName(todo.id, event.name), to=name_stream(event.name))

    @decide
    def confirm_name(self, todo: ListState, command: ConfirmName):
        if todo.status == "deleted":
            yield NameGivenUp(command.name)
        elif command.name == todo.wanted:
            yield ListNamed(command.name, before=todo.name)
        elif name_stream(command.name) not in (name_stream(todo.name), name_stream(todo.wanted)):
            yield NameGivenUp(command.name)

    @decide
    def refuse_name(self, todo: ListState, command: RefuseName):
        if command.name == todo.wanted:
            yield NameTaken(command.name)

    @react
    def release_former_name(self, todo: ListState, event: ListNamed):
        if event.before and name_stream(event.before) != name_stream(event.name):
            yield dispatch(ReleaseName(todo.id), to=name_stream(event.before))

    @react
    def release_unused_name(self, todo: ListState, event: NameGivenUp):
        yield dispatch(ReleaseName(todo.id), to=name_stream(event.name))

    @react
    def release_last_name(self, todo: ListState, event: ListDeleted):
        if todo.name:
            yield dispatch(ReleaseName(todo.id), to=name_stream(todo.name))

    # -- items

    @decide
    def add_item(self, todo: ListState, command: Message[AddItem]):
        expect_active(todo)
        yield from new_item(todo, command.id, command.payload.text)

    @decide
    def edit_item(self, todo: ListState, command: EditItem):
        item, text = expect_item(todo, command.item_id), command.text.strip()
        twin = todo.saying(text)
        if twin not in (None, item):
            yield ItemDuplicated(twin.id, text)
        elif text != item.text:
            yield ItemTextChanged(item.id, text)

    @decide
    def toggle_item(self, todo: ListState, command: ToggleItem):
        item = expect_item(todo, command.item_id)
        yield ItemReopened(item.id) if item.done else ItemDone(item.id, item.text)

    @decide
    def remove_item(self, todo: ListState, command: RemoveItem):
        yield ItemRemoved(expect_item(todo, command.item_id).id)

    @decide
    def move_item(self, todo: ListState, command: MoveItem):
        item = expect_item(todo, command.item_id)
        if 0 <= command.to < len(todo.items) and todo.items.index(item) != command.to:
            yield ItemMoved(item.id, command.to)

    # -- with the help of others

    @decide
    def expand_item(self, todo: ListState, command: ExpandItem):
        item = expect_item(todo, command.item_id)
        if not item.expandable:
            raise NotPossible("only an open item with a long text can be expanded")
        yield ExpansionStarted(item.id, item.text)

    @decide
    def replace_item(self, todo: ListState, command: Message[ReplaceItem]):
        item = todo.item(command.payload.item_id)
        if item.expanding:
            for at, line in enumerate(command.payload.lines):
                if not todo.saying(line):
                    todo = yield ItemAdded(f"{command.id}-{at}", line.strip())
            yield ItemReplaced(item.id)

    @decide
    def give_up_expansion(self, todo: ListState, command: GiveUpExpansion):
        if todo.item(command.item_id).expanding:
            yield ExpansionGivenUp(command.item_id, command.reason)

    @decide
    def note_dispatch(self, todo: ListState, command: NoteDispatch):
        if command.service not in todo.item(command.item_id).told:
            yield DispatchNoted(command.item_id, command.service)

    # -- the end

    @decide
    def archive(self, todo: ListState, command: ArchiveList):
        expect_active(todo)
        yield ListArchived()

    @decide
    def delete(self, todo: ListState, command: DeleteList):
        if todo.status != "archived":
            raise NotPossible("only an archived list can be deleted")
        yield ListDeleted()

    # -- what every event means

    @evolve
    def created(self, todo: ListState, event: ListCreated):
        todo.status = "active"

    @evolve
    def name_wanted(self, todo: ListState, event: NameWanted):
        todo.wanted, todo.notice = event.name, ""

    @evolve
    def named(self, todo: ListState, event: ListNamed):
        todo.name, todo.wanted, todo.notice = event.name, "", ""

    @evolve
    def name_taken(self, todo: ListState, event: NameTaken):
        todo.wanted = ""
        todo.notice = f"Another list is called “{event.name}” already. Choose another name."

    @evolve
    def added(self, todo: ListState, event: ItemAdded):
        settle(todo)
        todo.items.append(Item(event.item_id, event.text))

    @evolve
    def duplicated(self, todo: ListState, event: ItemDuplicated):
        todo.duplicate = event.item_id
        todo.notice = "An item with the same text already exists. Change one of them, or add another."

    @evolve
    def text_changed(self, todo: ListState, event: ItemTextChanged):
        settle(todo)
        todo.item(event.item_id).text = event.text

    @evolve
    def done(self, todo: ListState, event: ItemDone):
        settle(todo)
        todo.item(event.item_id).done = True

    @evolve
    def reopened(self, todo: ListState, event: ItemReopened):
        settle(todo)
        todo.item(event.item_id).done = False

    @evolve
    def removed(self, todo: ListState, event: ItemRemoved | ItemReplaced):
        settle(todo)
        todo.items.remove(todo.item(event.item_id))

    @evolve
    def moved(self, todo: ListState, event: ItemMoved):
        settle(todo)
        item = todo.item(event.item_id)
        todo.items.remove(item)
        todo.items.insert(event.to, item)

    @evolve
    def expansion_started(self, todo: ListState, event: ExpansionStarted):
        settle(todo)
        todo.item(event.item_id).expanding = True

    @evolve
    def expansion_given_up(self, todo: ListState, event: ExpansionGivenUp):
        todo.item(event.item_id).expanding = False
        todo.notice = f"The item could not be expanded: {event.reason}"

    @evolve
    def dispatch_noted(self, todo: ListState, event: DispatchNoted):
        todo.item(event.item_id).told.append(event.service)

    @evolve
    def archived(self, todo: ListState, event: ListArchived | ListDeleted):
        settle(todo)
        todo.status = "archived" if isinstance(event, ListArchived) else "deleted"

    @evolve
    def refused(self, todo: ListState, event: Rejected):
        todo.notice = event.message


def expect_active(todo: ListState) -> None:
    if todo.status != "active":
        raise NotPossible(f"this list is {todo.status}")


def expect_item(todo: ListState, item_id: str) -> Item:
    """One that people may work on."""
    expect_active(todo)
    item = todo.item(item_id)
    if item.expanding:
        raise NotPossible("this item is being expanded; wait for a moment")
    return item


def new_item(todo: ListState, item_id: str, text: str) -> Iterator[TodoEvent]:
    twin = todo.saying(text)
    yield ItemDuplicated(twin.id, text.strip()) if twin else ItemAdded(item_id, text.strip())


def settle(todo: ListState) -> None:
    """Something went well: what went wrong before is of no interest any more."""
    todo.notice = todo.duplicate = ""
