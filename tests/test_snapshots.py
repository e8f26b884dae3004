"""Snapshots: states written down when a stream crosses a multiple, and read instead of its history."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sourced import Actor, Command, DefinitionError, Event, Sourced, decide, evolve, react
from sourced.app import store_at
from sourced.errors import Unavailable
from sourced.store import Snapshot, Store
from sourced.stores.memory import MemoryStore


class Add(Command, type="tally.add"):
    n: int
    times: int = 1


class Added(Event, type="tally.added"):
    n: int


class Seen(Command, type="tally.seen"):
    total: int


@dataclass
class Tally:
    id: str
    total: int = 0
    parts: list[int] = field(default_factory=list)


class Tallies(Actor[Tally]):
    snapshot_every = 6

    @decide
    def add(self, tally: Tally, command: Add):
        for _ in range(command.times):
            yield Added(command.n)

    @evolve
    def added(self, tally: Tally, event: Added):
        tally.total += event.n
        tally.parts.append(event.n)


class Watchful(Tallies, group="watchful"):
    @decide
    def seen(self, tally: Tally, command: Seen):
        yield Added(0)

    @react
    def look(self, tally: Tally, event: Added):
        if event.n:
            yield Seen(tally.total)


class Through:
    """A store, by way of which another one is used."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


class Counting(Through):
    """Notes what is read of streams."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.read: list[tuple[str, int]] = []

    def histories(self, ranges: Any):
        self.read += [(each.stream, each.after) for each in ranges]
        return (yield from self.store.histories(ranges))

    def contents(self, stream: str, types: Any, *, after: int = 0, upto: int | None = None):
        self.read.append((stream, after))
        return (yield from self.store.contents(stream, types, after=after, upto=upto))


def kept(app: Sourced, stream: str = "t", group: str = "Tallies") -> dict[str, Snapshot]:
    return app.store.transact(app.store.snapshots(group, [stream]))


def started(store: Any, actor: type[Actor[Any]] = Tallies, **options: Any) -> Sourced:
    """A process of its own: nothing is remembered from the one before."""
    app = Sourced(store, **options)
    app.register(actor)
    return app


def test_a_snapshot_is_taken_whenever_a_multiple_is_crossed_and_only_the_newest_stays(store: Store):
    """O235."""
    app = started(store)
    seqs = []
    for _ in range(6):
        app.execute(Add(1), to="t")  # the command and one event
        seqs.append(kept(app)["t"].seq if kept(app) else 0)
    assert seqs == [0, 0, 6, 6, 6, 12]


def test_a_command_of_many_events_that_jumps_over_the_multiple_leaves_one(store: Store):
    """O236."""
    app = started(store)
    app.execute(Add(1, times=3), to="t")
    assert kept(app) == {}
    app.execute(Add(1, times=3), to="t")
    assert kept(app)["t"].seq == 8


@pytest.mark.parametrize("how", ["execute", "drain"])
def test_what_was_written_down_is_not_read_again(how: str, store: Store):
    """O237. Only what came after it is."""
    counting = Counting(store)
    app = started(counting)
    app.execute(Add(1, times=5), to="t")
    app.execute(Add(2), to="t")
    counting.read.clear()
    later = started(counting)
    if how == "execute":
        later.execute(Add(3), to="t")
    else:
        later.dispatch(Add(3), to="t")
        later.drain()
    assert {after for stream, after in counting.read} == {6}
    assert later.load(Tallies, "t").state == Tally("t", 10, [1, 1, 1, 1, 1, 2, 3])


def test_rounds_take_them_for_all_their_streams(store: Store):
    app = started(store)
    for stream in ("a", "b", "c"):
        for _ in range(3):
            app.dispatch(Add(1), to=stream)
    app.dispatch(Add(1), to="short")
    app.drain()
    found = app.store.transact(app.store.snapshots("Tallies", ["a", "b", "c", "short"]))
    assert {stream: snapshot.seq for stream, snapshot in found.items()} == {"a": 6, "b": 6, "c": 6}


def test_reactions_see_the_state_as_of_their_event_whatever_was_written_down(store: Store):
    """H142. A snapshot may be newer than the event that is reacted to."""
    app = started(store, Watchful)
    app.execute(Add(1, times=4), to="t")
    app.execute(Add(1, times=4), to="t")
    later = started(store, Watchful, cache=0)
    later.drain()
    seen = [m.payload.total for m in later.history("t") if isinstance(m.payload, Seen)]
    assert seen == [1, 2, 3, 4, 5, 6, 7, 8]
    assert later.load(Watchful, "t").state.total == 8


def test_one_of_a_later_seq_is_left_alone_when_the_past_is_looked_at(store: Store):
    app = started(store)
    for _ in range(4):
        app.execute(Add(1), to="t")
    assert [app.load(Tallies, "t", upto=seq).state.total for seq in range(9)] == [0, 0, 1, 1, 2, 2, 3, 3, 4]


def test_one_of_another_shape_is_ignored_and_everything_is_read(store: Store):
    counting = Counting(store)
    app = started(counting)
    app.execute(Add(1, times=7), to="t")

    class Version2(Tallies, group="Tallies"):
        snapshot_version = 2

    counting.read.clear()
    assert started(counting, Version2).load(Version2, "t").state.total == 7
    assert counting.read == [("t", 0)]


def test_one_that_cannot_be_read_is_ignored_with_a_warning(caplog: pytest.LogCaptureFixture, store: Store):
    app = started(store)
    app.execute(Add(1, times=7), to="t")
    broken = Snapshot("Tallies", "t", 9, '{"id": 1}', kept(app)["t"].fingerprint)
    app.store.transact(app.store.save_snapshot(broken))
    assert started(store).load(Tallies, "t").state.total == 7
    assert "the whole stream is" in caplog.text


@pytest.mark.parametrize("how", ["execute", "drain"])
def test_a_store_that_cannot_keep_one_costs_a_warning_and_nothing_else(
    how: str, caplog: pytest.LogCaptureFixture, store: Store
):
    """O238."""

    class Full(Through):
        def save_snapshot(self, snapshot: Any, keep: int = 1):
            yield from ()
            raise OSError("no space left")

    app = started(Full(store))
    if how == "execute":
        app.execute(Add(1, times=7), to="t")
    else:
        app.dispatch(Add(1, times=7), to="t")
        app.drain()
    assert app.load(Tallies, "t").state.total == 7
    assert "no snapshot was stored of 't' at seq 8: no space left" in caplog.text


@pytest.mark.parametrize("kind", ["memory", "sqlite", "file"])
def test_they_may_be_kept_in_a_store_of_another_kind(kind: str, store: Store, tmp_path: Path):
    """O245. By whoever decides, here and now, awaited, and in rounds; the one who reads them reads the rest."""
    elsewhere = store_at(
        {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/s.db"}.get(kind, f"file://{tmp_path}")
    )
    counting = Counting(store)

    def again() -> Sourced:
        counting.read.clear()
        return started(counting, snapshots=elsewhere)

    again().execute(Add(1, times=7), to="t")
    asyncio.run(again().aio.execute(Add(1, times=7), to="t"))
    assert counting.read == [("t", 8)]
    app = again()
    app.dispatch(Add(1, times=3), to="t")
    app.drain()
    assert counting.read == []  # what was delivered goes on where the snapshot ends
    assert kept(started(store)) == {}
    assert elsewhere.transact(elsewhere.snapshots("Tallies", ["t"]))["t"].seq == 20
    app = again()
    assert app.load(Tallies, "t").state.total == 17
    assert counting.read == [("t", 20)]
    assert repr(app.store).endswith(f" with snapshots in {elsewhere!r}")
    elsewhere.close()


def test_where_they_are_lost_or_cannot_be_kept_it_costs_only_the_short_cut(
    store: Store, caplog: pytest.LogCaptureFixture
):
    """O238, O245."""

    class Full(Through):
        def save_snapshot(self, snapshot: Any, keep: int = 1):
            yield from ()
            raise OSError("no space left")

    app = started(store, snapshots=Full(MemoryStore()))
    app.execute(Add(1, times=7), to="t")
    assert "no snapshot was stored of 't' at seq 8: no space left" in caplog.text
    assert started(store, snapshots="memory://").load(Tallies, "t").state.total == 7


def test_both_are_made_and_closed(tmp_path: Path):
    app = Sourced(f"sqlite:///{tmp_path}/a.db", snapshots=f"sqlite:///{tmp_path}/b.db")
    assert app.migrate() == ["log_groups_schedule"] * 2
    assert asyncio.run(app.aio.migrate()) == []
    app.close()
    with pytest.raises(Unavailable):
        app.store.transact(app.store.snapshots("g", ["t"]))
    with pytest.raises(Unavailable):
        app.read_all()


def test_as_many_stay_as_are_wanted(store: Store):
    class Three(Tallies, group="three"):
        snapshots_kept = 3

    app = started(store, Three)
    for _ in range(15):
        app.execute(Add(1), to="t")
    assert all_kept(store, "three", "t") == [30, 24, 18]


def all_kept(store: Store, group: str, stream: str) -> list[int]:
    """The port gives but the newest, so this looks into the store."""
    if isinstance(store, MemoryStore):
        return [each.seq for each in store._tables.snapshots[group, stream]]
    text = f"select seq from sourced_snapshots where group_name = '{group}' and stream = '{stream}' order by seq desc"
    with store.transaction() as connection:
        return [seq for (seq,) in connection.tx.execute(text).fetchall()]


def test_a_failed_decision_leaves_none(store: Store):
    """B46. What is written down is what was stored."""

    class Careless(Tallies, group="careless"):
        @decide
        def add(self, tally: Tally, command: Add):
            for _ in range(8):
                yield Added(command.n)
            raise ValueError("at the last moment")

    other = started(store, Careless)
    with pytest.raises(ValueError, match="at the last moment"):
        other.execute(Add(1), to="t")
    assert kept(other, group="careless") == {}


def test_policies_that_cannot_be_carried_out_are_refused_when_they_are_registered():
    class Opaque:
        def __init__(self, id: str) -> None: ...

    class Unwritable(Actor[Opaque], group="unwritable"):
        snapshot_every = 5

        @decide
        def add(self, state: Opaque, command: Add):
            yield Added(1)

    class Negative(Tallies, group="negative"):
        snapshot_every = -1

    with pytest.raises(
        DefinitionError, match=r"Unwritable\.snapshot_every: the state .*Opaque cannot be written as JSON"
    ):
        started(MemoryStore(), Unwritable)
    with pytest.raises(DefinitionError, match=r"Negative\.snapshot_every: expected 0 or more, found -1"):
        started(MemoryStore(), Negative)
