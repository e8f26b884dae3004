"""The TODO application: what a list decides."""

import pytest

from sourced import Sourced, dispatch
from sourced.demo.lists import ListState, NoSuchItem, NotPossible, TodoList
from sourced.demo.messages import (
    AddItem,
    ArchiveList,
    ConfirmName,
    CreateList,
    DeleteList,
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
    RefuseName,
    RemoveItem,
    RenameList,
    ReplaceItem,
    TodoCommand,
    TodoEvent,
    ToggleItem,
)
from sourced.demo.names import ListName, ReleaseName
from sourced.testing import given

HOME = (ListCreated(), NameWanted("Home"), ListNamed("Home", before=""))
MILK = ItemAdded("i1", "Buy Milk")
LONG = "Prepare the whole house for the winter, from the cellar to the roof"


def test_a_list_is_created_with_the_name_that_is_wanted():
    given(TodoList, "l1").when(CreateList(" Home ")).then(ListCreated(), NameWanted("Home"))
    given(TodoList, "l1", *HOME).when(CreateList("Home")).then_raises(NotPossible)


def test_an_item_is_added_as_it_was_meant():
    outcome = given(TodoList, "l1", *HOME).when(AddItem(" Buy Milk "))
    command, added = outcome.new_messages
    assert added.payload == ItemAdded(command.id, "Buy Milk")


def test_an_item_that_says_the_same_is_not_added_and_the_list_says_so():
    """P258."""
    given(TodoList, "l1", *HOME, MILK).when(AddItem(" buy milk")).then(ItemDuplicated("i1", "buy milk"))
    app = Sourced()
    app.register(TodoList)
    app.append("l1", [*HOME, MILK, ItemDuplicated("i1", "buy milk")])
    todo = app.load(TodoList, "l1")
    assert (todo.state.duplicate, len(todo.state.items)) == ("i1", 1)
    assert "same text" in todo.state.notice
    todo.execute(EditItem("i1", "Buy oat milk"))
    assert (todo.state.duplicate, todo.state.notice) == ("", "")


def test_an_item_may_be_called_in_other_letters_what_it_is_called():
    given(TodoList, "l1", *HOME, MILK).when(EditItem("i1", "buy MILK")).then(ItemTextChanged("i1", "buy MILK"))
    given(TodoList, "l1", *HOME, MILK).when(EditItem("i1", "Buy Milk")).then()


def test_an_item_is_done_and_reopened():
    given(TodoList, "l1", *HOME, MILK).when(ToggleItem("i1")).then(ItemDone("i1", "Buy Milk"))
    given(TodoList, "l1", *HOME, MILK, ItemDone("i1", "Buy Milk")).when(ToggleItem("i1")).then(ItemReopened("i1"))


def test_an_item_is_moved_within_the_list_only():
    """P260."""
    items = (MILK, ItemAdded("i2", "Bread"), ItemAdded("i3", "Tea"))
    given(TodoList, "l1", *HOME, *items).when(MoveItem("i1", to=2)).then(ItemMoved("i1", to=2))
    for nowhere in (-1, 0, 3):
        given(TodoList, "l1", *HOME, *items).when(MoveItem("i1", to=nowhere)).then()
    assert [item.id for item in state(*HOME, *items, ItemMoved("i1", to=2)).items] == ["i2", "i3", "i1"]


def test_who_asks_for_an_item_that_is_gone_is_told():
    given(TodoList, "l1", *HOME, MILK, ItemRemoved("i1")).when(ToggleItem("i1")).then_raises(NoSuchItem)
    app = Sourced()
    app.register(TodoList)
    app.append("l1", HOME)
    app.dispatch(RemoveItem("i9"), to="l1")
    app.drain()
    assert app.load(TodoList, "l1").state.notice == "The list has no such item, or no longer: i9"


def test_only_an_active_list_is_archived_and_only_an_archived_one_deleted():
    """P259."""
    given(TodoList, "l1", *HOME).when(ArchiveList()).then(ListArchived())
    given(TodoList, "l1", *HOME, ListArchived()).when(ArchiveList()).then_raises(NotPossible)
    given(TodoList, "l1", *HOME).when(DeleteList()).then_raises(NotPossible)
    given(TodoList, "l1", *HOME, ListArchived()).when(DeleteList()).then(ListDeleted())


@pytest.mark.parametrize("command", [AddItem("Tea"), ToggleItem("i1"), RenameList("Other"), RemoveItem("i1")])
def test_nobody_works_on_an_archived_list(command: TodoCommand):
    """TD14."""
    given(TodoList, "l1", *HOME, MILK, ListArchived()).when(command).then_raises(NotPossible)


def test_a_long_item_is_expanded_into_others_that_are_not_there_yet():
    """P262."""
    long = ItemAdded("i2", LONG)
    given(TodoList, "l1", *HOME, MILK).when(ExpandItem("i1")).then_raises(NotPossible)
    given(TodoList, "l1", *HOME, long).when(ExpandItem("i2")).then(ExpansionStarted("i2", LONG))
    started = (*HOME, MILK, long, ExpansionStarted("i2", LONG))
    given(TodoList, "l1", *started).when(ToggleItem("i2")).then_raises(NotPossible)
    outcome = given(TodoList, "l1", *started).when(ReplaceItem("i2", ["Sweep the roof", "buy milk", "sweep the roof "]))
    command, *events = outcome.new_messages
    assert [each.payload for each in events] == [ItemAdded(f"{command.id}-0", "Sweep the roof"), ItemReplaced("i2")]


def test_an_expansion_that_is_given_up_lets_the_item_go():
    """P262."""
    started = (*HOME, ItemAdded("i2", LONG), ExpansionStarted("i2", LONG))
    given(TodoList, "l1", *started).when(GiveUpExpansion("i2", "no answer")).then(ExpansionGivenUp("i2", "no answer"))
    after = state(*started, ExpansionGivenUp("i2", "no answer"))
    assert not after.items[0].expanding
    assert "no answer" in after.notice


# -- names


def test_a_name_that_is_free_is_confirmed():
    app = shop()
    app.dispatch(CreateList("Home"), to="l1")
    app.drain()
    assert app.load(TodoList, "l1").state.name == "Home"
    assert app.load(ListName, "name-home").state == "l1"


def test_a_name_that_another_list_has_is_refused_until_that_one_lets_it_go():
    app = shop()
    for stream, name in (("l1", "Home"), ("l2", "hOME")):
        app.dispatch(CreateList(name), to=stream)
        app.drain()
    second = app.load(TodoList, "l2")
    assert second.state.title == "Untitled"
    assert "“hOME” already" in second.state.notice
    app.execute(RenameList("House"), to="l1")
    app.drain()
    app.execute(RenameList("Home"), to="l2")
    app.drain()
    assert [app.load(TodoList, each).state.title for each in ("l1", "l2")] == ["House", "Home"]


def test_a_list_that_is_deleted_lets_its_name_go():
    app = shop()
    app.dispatch(CreateList("Home"), to="l1")
    app.drain()
    for command in (ArchiveList(), DeleteList()):
        app.execute(command, to="l1")
    app.drain()
    assert app.load(ListName, "name-home").state == ""


def test_a_name_that_is_not_wanted_any_more_is_given_back():
    given(TodoList, "l1", ListCreated(), NameWanted("A"), NameWanted("B")).when(ConfirmName("A")).then(NameGivenUp("A"))
    given(TodoList, ListName, "l1", ListCreated(), NameWanted("A"), NameWanted("B")).when(ConfirmName("A")).then(
        NameGivenUp("A"), dispatch(ReleaseName("l1"), to="name-a")
    )


def test_a_name_in_other_letters_is_the_name_that_the_list_has():
    app = shop()
    app.dispatch(CreateList("Home"), to="l1")
    app.drain()
    for name in ("home", "HOME"):
        app.execute(RenameList(name), to="l1")
    app.drain()
    assert app.load(TodoList, "l1").state.name == "HOME"
    assert app.load(ListName, "name-home").state == "l1"


def test_a_refused_name_matters_only_while_it_is_wanted():
    given(TodoList, "l1", ListCreated(), NameWanted("A")).when(RefuseName("A")).then(NameTaken("A"))
    given(TodoList, "l1", *HOME).when(RefuseName("A")).then()


def shop() -> Sourced:
    app = Sourced()
    app.register(TodoList, ListName)
    return app


def state(*events: TodoEvent) -> ListState:
    app = Sourced()
    app.register(TodoList)
    app.append("l1", events)
    return app.load(TodoList, "l1").state
