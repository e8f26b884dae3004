"""Whatever ends a file store in the middle of its work: all that was acknowledged is there, and nothing by half."""

import contextlib
import copy
import itertools
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sourced.errors import Unavailable
from sourced.ops import Op
from sourced.store import Store
from sourced.stores.file import CorruptStore, FileStore
from sourced.stores.memory import MemoryStore
from sourced.testing import Crash
from sourced.testing.conformance.bench import at, entry
from tests.stores.lives import Step, holdings, live
from tests.stores.machines import FullDisk, Machine

LEFT = list(itertools.product((True, False), ("written", "holes", "zeros", "safe")))


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def short_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that there is a checkpoint within every life, too."""
    monkeypatch.setattr("sourced.stores.file.folder.JOURNAL_LIMIT", 3000)


def do(store: Store, op: Op[Any]) -> Any:
    return store.transact(op)


@contextlib.contextmanager
def running_on(machine: Machine) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sourced.stores.file.disk.os", machine)
        yield


class Lives:
    """One life, and what a store holds after each of its transactions."""

    def __init__(self) -> None:
        self.steps = live()
        store = MemoryStore()
        self.holdings = [copy.deepcopy(holdings(store))]
        for step in self.steps:
            do(store, step(store))
            self.holdings.append(copy.deepcopy(holdings(store)))

    def lived(self, folder: Path) -> Iterator[Step]:
        """The transactions, each after it was acknowledged."""
        with contextlib.closing(FileStore(folder)) as store:
            for step in self.steps:
                do(store, step(store))
                yield step

    def acknowledged(self, folder: Path, machine: Machine) -> int:
        """How many there were until the machine died."""
        number = 0
        with running_on(machine), contextlib.suppress(Crash, Unavailable):
            for _ in self.lived(folder):
                number += 1
        return number

    def check(self, folder: Path, acknowledged: int) -> None:
        """As after the last transaction that was acknowledged, or the one that was under way; and it goes on."""
        with contextlib.closing(FileStore(folder)) as store:
            found = holdings(store)
            assert found in self.holdings[acknowledged : acknowledged + 2]
            do(store, store.append([entry("afterwards")]))
            found = holdings(store)
        with contextlib.closing(FileStore(folder)) as store:
            assert holdings(store) == found


@pytest.fixture(scope="module")
def lives() -> Lives:
    return Lives()


def test_a_machine_may_die_between_any_two_writes_and_lose_whatever_was_not_synced(place: Path, lives: Lives):
    """O247. Or in the middle of one: it keeps the names and the contents it was made to wait for, or more of them."""
    for dies_at in itertools.count(1):
        for halfway in (False, True):
            machine = Machine(folder := place / f"{dies_at} {halfway}", dies_at, halfway=halfway)
            acknowledged = lives.acknowledged(folder, machine)
            if not machine.dead:
                assert dies_at > 50
                return
            if not halfway or not machine.halfway:  # else it did not die in a write: the same once more
                for names, contents in LEFT:
                    left = machine.left(place / "left", names=names, contents=contents)
                    lives.check(left, acknowledged)
                    shutil.rmtree(left)


def test_a_machine_may_die_again_while_the_store_is_opened_after_that(place: Path, lives: Lives):
    for dies_at in itertools.count(10, 7):
        machine = Machine(folder := place / f"{dies_at}", dies_at, halfway=True)
        acknowledged = lives.acknowledged(folder, machine)
        if not machine.dead:
            return
        for dies_again_at in itertools.count(1):
            again = shutil.copytree(folder, place / f"{dies_at} {dies_again_at}")
            weak = Machine(again, dies_again_at, halfway=True)
            with running_on(weak), contextlib.suppress(Crash):
                FileStore(again).close()
            if not weak.dead:
                break
            for contents in ("written", "holes", "safe"):
                left = weak.left(place / "left", names=True, contents=contents)
                lives.check(left, acknowledged)
                shutil.rmtree(left)


def test_a_full_disk_loses_nothing_that_was_acknowledged(place: Path, lives: Lives):
    """What fails once is not trusted again, until the folder is opened anew, from what is really there."""
    for full_at in itertools.count(1):
        machine = FullDisk(folder := place / f"{full_at}", full_at, halfway=True)
        acknowledged = lives.acknowledged(folder, machine)
        if machine.left_to_do > 0:
            assert full_at > 50
            return
        lives.check(folder, acknowledged)


def test_a_store_whose_disk_is_full_says_so_and_what_to_do(place: Path, caplog: pytest.LogCaptureFixture):
    store = FileStore(place / "store")
    with running_on(FullDisk(place / "store", 1)), pytest.raises(Unavailable, match="No space left") as caught:
        do(store, store.append([entry("s")]))
    assert caught.value.unsure
    with pytest.raises(Unavailable, match=r"a write had failed \(.*No space left.*\); close this store and"):
        do(store, store.append([entry("s")]))
    store.close()
    store = FileStore(place / "store")
    with running_on(FullDisk(place / "store", 3)), caplog.at_level(logging.WARNING, "sourced"):
        do(store, store.append([entry("s")]))
    assert "committed, but not copied to where people read it: OSError" in caplog.text
    with pytest.raises(Unavailable):
        do(store, store.append([entry("s")]))
    store.close()
    store = FileStore(place / "store")
    assert do(store, store.extent()) == (1, 1)
    store.close()


# -- a process that is killed ------------------------------------------------------------------------------------------

WRITE = """
import itertools, sys
from sourced.store import Entry
from sourced.stores.file import FileStore
from sourced.testing.conformance.bench import record

store = FileStore(sys.argv[1], sync=False)
for number in itertools.count(store.transact(store.extent())[1]):
    names, long = [f"s-{number % 7}", "all"], '"' + "x" * 50_000 + '"'
    store.commit([Entry(name, (record(name, id=f"{name} {number}", payload=long),)) for name in names])
    print(number, flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_process_that_is_killed_while_it_writes_loses_nothing_it_has_acknowledged(place: Path):
    """Three times over the same folder, and nobody has to unlock it."""
    acknowledged: list[int] = []
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITE, str(place / "store")], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        with writer:
            acknowledged += [int(writer.stdout.readline()) for _ in range(20)]
            writer.kill()
            acknowledged += [int(line) for line in writer.stdout if line.endswith("\n")]
        with contextlib.closing(FileStore(place / "store")) as store:
            ids = {record.id for record in do(store, store.read_all())}
        assert ids >= {f"all {number}" for number in acknowledged}
        assert {each for each in ids if each.startswith("s-")} == {
            f"s-{int(each[4:]) % 7} {each[4:]}" for each in ids if each.startswith("all")
        }


# -- half lines --------------------------------------------------------------------------------------------------------


def killed(folder: Path, *work: Callable[[Store], Op[Any]]) -> None:
    """A store whose process is over before it was closed."""
    store = FileStore(folder)
    for each in work:
        do(store, each(store))
    store._folder._release()


@pytest.fixture
def two(place: Path) -> Path:
    """A store that was killed after two transactions with a message each, in one stream."""
    killed(place / "two", lambda store: store.append([entry("s")]), lambda store: store.append([entry("s")]))
    return place / "two"


def halves(file: Path, place: Path) -> Iterator[Path]:
    """The folder with the last line of the file cut at every byte, and with zeros where the rest was to be."""
    folder = next(parent for parent in file.parents if parent.name == "two")
    first, second = file.read_bytes().splitlines(keepends=True)
    for length, zeros in itertools.product(range(len(second)), (False, True)):
        torn = shutil.copytree(folder, place / f"{length} {zeros}")
        (torn / file.relative_to(folder)).write_bytes(first + second[:length] + bytes(zeros * (len(second) - length)))
        yield torn


def test_half_a_transaction_at_the_end_of_the_journal_was_never_committed(
    place: Path, two: Path, caplog: pytest.LogCaptureFixture
):
    copy = two / "log" / "s.jsonl"
    copy.write_bytes(copy.read_bytes().splitlines(keepends=True)[0])  # it comes after the journal's line
    for torn in halves(two / "journal.jsonl", place):
        with contextlib.closing(FileStore(torn)) as store:
            assert [r.seq for r in do(store, store.read_all())] == [1]
            do(store, store.append([entry("s")]))
        with contextlib.closing(FileStore(torn)) as store:
            assert [r.seq for r in do(store, store.read_all())] == [1, 2]
    whole = "half a transaction, dropped, for it was never committed"
    assert len(caplog.messages) == 2 * len((two / "journal.jsonl").read_bytes().splitlines()[1]) + 1
    assert all(f"journal.jsonl, line 2: {whole}" in message for message in caplog.messages)


def test_half_a_message_at_the_end_of_a_stream_is_mended_from_the_journal(
    place: Path, two: Path, caplog: pytest.LogCaptureFixture
):
    whole = (two / "log" / "s.jsonl").read_bytes()
    for torn in halves(two / "log" / "s.jsonl", place):
        FileStore(torn).close()
        assert (torn / "log" / "s.jsonl").read_bytes() == whole
    assert all("s.jsonl, line 2: half a message, mended from the journal" in message for message in caplog.messages)
    assert caplog.messages


def test_a_last_line_that_an_editor_left_without_its_end_gets_it_back(place: Path):
    with contextlib.closing(FileStore(place / "store")) as store:
        do(store, store.append([entry("s")]))
    file = place / "store" / "log" / "s.jsonl"
    file.write_bytes(file.read_bytes()[:-1])
    with contextlib.closing(FileStore(place / "store")) as store:
        do(store, store.append([entry("s")]))
    assert file.read_bytes().count(b"\n") == 2
    with contextlib.closing(FileStore(place / "store")) as store:
        assert do(store, store.extent()) == (1, 2)


def test_an_editor_that_saves_what_it_had_read_before_loses_nothing(place: Path):
    file = place / "store" / "log" / "s.jsonl"
    with contextlib.closing(FileStore(place / "store")) as store:
        do(store, store.append([entry("s")]))
        read_before = file.read_bytes()
        do(store, store.append([entry("s")]))
        file.write_bytes(read_before)
        with pytest.raises(
            Unavailable, match=r"somebody else changed .*s.jsonl: expected \d+ bytes, found \d+; open the"
        ):
            store.close()
    with contextlib.closing(FileStore(place / "store")) as store:
        assert do(store, store.extent()) == (1, 2)
        do(store, store.append([entry("s")]))
    assert len(file.read_bytes().splitlines()) == 3


# -- what no crash can have done ---------------------------------------------------------------------------------------


def damaged(change: Callable[[list[bytes]], Any]) -> Callable[[Path], None]:
    """The lines of a file, changed."""

    def damage(file: Path) -> None:
        lines = file.read_bytes().splitlines()
        change(lines)
        file.write_bytes(b"".join(line + b"\n" for line in lines))

    return damage


def replaced(line: int, old: bytes, new: bytes) -> Callable[[Path], None]:
    def change(lines: list[bytes]) -> None:
        assert old in lines[line - 1]
        lines[line - 1] = lines[line - 1].replace(old, new, 1)

    return damaged(change)


DAMAGE: list[tuple[str, Callable[[Path], Any], str]] = [
    ("log/a.jsonl", replaced(2, b'"seq"', b'"s'), r"log/a.jsonl, line 2: expected a message, found '{\"s"),
    ("log/a.jsonl", replaced(2, b"thing", b"th\xffing"), r"log/a.jsonl, line 2: expected a message, found"),
    ("log/a.jsonl", damaged(lambda lines: lines.pop(1)), r"line 2: expected seq 2 of 'a', found seq 3 of 'a'"),
    ("log/a.jsonl", damaged(lambda lines: lines.insert(1, b"")), r"a.jsonl, line 2: expected a message, found ''"),
    ("log/a.jsonl", damaged(lambda lines: lines.pop()), r"log/a.jsonl: expected the 3 messages of 'a', found 2"),
    ("log/a.jsonl", damaged(lambda lines: lines.append(lines[0])), r"line 4: expected the end of the file, found '{"),
    (
        "log/a.jsonl",
        damaged(lambda lines: lines.append(b"hello")),
        r"line 4: expected the end of the file, found 'hello'",
    ),
    ("log/a.jsonl", Path.unlink, r"log/a.jsonl: expected the 3 messages of 'a', found no such file"),
    (
        "log/a.jsonl",
        replaced(1, b'"position":1', b'"position":9'),
        r"log/b.jsonl, line 1: expected position 1, found 2",
    ),
    ("log/a.jsonl", replaced(3, b'"position":4', b'"position":3'), r"a.jsonl, line 3: expected position 4, found 3"),
    (
        "log/b.jsonl",
        lambda file: file.write_bytes((file.parent / "a.jsonl").read_bytes()),
        r"seq 1 of 'b', found seq 1 of",
    ),
    (
        "log/b.jsonl",
        lambda file: file.rename(file.parent / "c.jsonl"),
        r"c.jsonl: expected no such file, for no stream",
    ),
    ("state.jsonl", replaced(1, b'"store"', b'"shop"'), r"state.jsonl, line 1: expected the heading of a state, found"),
    ("state.jsonl", replaced(2, b'"seq":3', b'"seq":4'), r"log/a.jsonl: expected the 4 messages of 'a', found 3"),
    ("state.jsonl", replaced(4, b'"group"', b'"troop"'), r"state.jsonl, line 4: expected a row, found"),
    ("state.jsonl", damaged(lambda lines: lines.pop()), r"state.jsonl: expected 4 lines after the heading, found 3"),
    ("state.jsonl", replaced(5, b'"group":"g"', b'"group":"?"'), r"line 5: expected a row of something that is there"),
    (
        "state.jsonl",
        lambda file: file.write_bytes(b""),
        r"state.jsonl, line 1: expected the heading of a state, found ''",
    ),
    (
        "state.jsonl",
        Path.unlink,
        r"state.jsonl: expected the state of what the journal and the log hold, found no such",
    ),
    ("journal.jsonl", Path.unlink, r"journal.jsonl: expected the journal, found no such file"),
    (
        "journal.jsonl",
        lambda file: file.write_bytes(b"{}\n"),
        r"journal.jsonl, line 1: expected a transaction, found '{}'",
    ),
    (
        "journal.jsonl",
        lambda file: file.write_bytes(b'{"transaction":9}\n'),
        r"line 1: expected transaction 7, found 9",
    ),
    (
        "journal.jsonl",
        lambda file: file.write_bytes(b'{"transaction":7}\n{"transaction":9}\n'),
        r"line 2: expected .* 8, ",
    ),
]


@pytest.mark.parametrize("number", range(len(DAMAGE)))
def test_what_was_damaged_is_named_and_left_alone(place: Path, number: int):
    name, damage, expected = DAMAGE[number]
    with contextlib.closing(FileStore(place / "store")) as store:
        for stream in ("a", "b", "a", "a"):
            do(store, store.append([entry(stream)]))
        do(store, store.register("g", "beginning"))
        do(store, store.claim("g", "w", now=at(0), until=at(30), limit=1))
    damage(place / "store" / name)
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    for _ in range(2):
        with pytest.raises(CorruptStore, match=expected):
            FileStore(place / "store")
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_a_broken_line_within_the_journal_is_no_torn_tail(place: Path, two: Path):
    replaced(1, b'"messages"', b'"mess')(two / "journal.jsonl")
    with pytest.raises(CorruptStore, match=r"journal.jsonl, line 1: expected a transaction, found") as caught:
        FileStore(two)
    assert (caught.value.file, caught.value.line) == (two / "journal.jsonl", 1)
    assert caught.value.expected == "a transaction"


def test_a_copy_that_is_not_what_the_journal_has_is_named(two: Path):
    replaced(1, b'"type":"thing.done"', b'"type":"nothing.done"')(two / "log" / "s.jsonl")
    with pytest.raises(CorruptStore, match=r"s.jsonl, line 1: expected what the journal has \('.*'\), found '"):
        FileStore(two)
