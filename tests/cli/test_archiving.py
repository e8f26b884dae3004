"""`sourced export` and `sourced import`, as processes: piped, killed, gone on with."""

import contextlib
import io
import itertools
import json
import os
import pty
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sourced import Sourced
from sourced.app import store_at
from sourced.audit import OPERATIONS, ArchiveImported
from sourced.cli.program import program
from sourced.store import Store
from sourced.testing.shop import AddItem, ItemAdded
from tests.archive.factory import archive, busy, everything
from tests.facts import eventually

IMPORTED = ArchiveImported.__sourced__.name


def sourced(*words: object, code: int = 0, given: bytes = b"") -> Any:
    result = CliRunner().invoke(program, [*map(str, words)], input=given, catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(params=["sqlite", "postgres"])
def there(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty store, and the folder a person sits in."""
    monkeypatch.chdir(tmp_path)
    if request.param == "sqlite":
        return "sqlite:///copy.db"
    url: str = request.getfixturevalue("postgres_url")
    sourced("migrate", url)
    return url


def filled(url: str = "sqlite:///shop.db") -> Any:
    with contextlib.closing(store_at(url)) as store:
        busy(store)
        return everything(store)


def found(url: str) -> Any:
    """But that it was told who has imported it."""
    with contextlib.closing(store_at(url)) as store:
        return everything(store, but=IMPORTED)


def test_a_store_goes_into_a_file_and_out_of_it(there: str):
    before = filled()
    log, waiting = len(before["log"]), len(before["waiting"])
    rows = sum(len(rows) for *_, rows in before["groups"])
    said = f"{log} messages, {rows} rows, 7 groups, {waiting} waiting streams, {len(before['scheduled'])} scheduled"
    result = sourced("export", "sqlite:///shop.db", "shop.ndjson")
    assert (result.stdout, result.stderr) == ("", f"exported {said} to shop.ndjson\n")
    done = ("import", there, "shop.ndjson", "--by", "vera", "--reason", "the disk had died")
    assert sourced(*done).stderr == f"imported {said}\n"
    assert found(there) == before
    told = json.loads(sourced("tail", there, "--stream", OPERATIONS, "--json", "--limit", "1").stdout)["payload"]
    assert (told["by"], told["reason"], told["messages"]) == ("vera", "the disk had died", log)
    assert "expected an empty store" in sourced("import", there, "shop.ndjson", code=1).stderr


def test_it_goes_through_a_pipe(there: str):
    before = filled()
    lines = sourced("export", "sqlite:///shop.db", "-").stdout_bytes
    sourced("import", there, "-", given=lines)
    assert found(there) == before


def test_a_file_is_never_half_written_nor_written_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    filled()
    Path("mine").write_text("mine")
    assert "mine is there already; name another file" in sourced("export", "sqlite:///shop.db", "mine", code=2).output
    assert Path("mine").read_text() == "mine"

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("sourced.cli.archiving.export_to", broken)
    with pytest.raises(ZeroDivisionError):
        sourced("export", "sqlite:///shop.db", "new")
    assert [each.name for each in Path().iterdir() if each.name.startswith("new")] == []


def test_a_file_that_cannot_be_written_or_read_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    filled()
    said = "Unavailable: nowhere/shop.ndjson: No such file or directory; nothing was changed\n"
    assert sourced("export", "sqlite:///shop.db", "nowhere/shop.ndjson", code=1).stderr == said
    said = "Unavailable: .: Is a directory; nothing was changed\n"
    assert sourced("import", "sqlite:///copy.db", ".", code=1).stderr == said


def test_a_slip_of_the_pen_is_told_and_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for words, said in (
        (["import", "sqlite:///copy.db", "nowhere"], "there is no nowhere"),
        (["import", "memory://", "-"], "gone when this command ends"),
        (["export", "sqlite:///nowhere.db", "-"], "there is no nowhere.db"),
    ):
        assert said in " ".join(sourced(*words, code=2).output.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_an_import_that_is_killed_goes_on(there: str):
    """SIGKILL, while it waits for more of a pipe."""
    original = store_at("memory://")
    app = Sourced(original)
    for n in range(25):
        app.append(f"s-{n}", [ItemAdded("tea", each) for each in range(100)])
    app.dispatch(AddItem("tea"), to="s-1", after=60)
    lines = archive(original)
    Path("shop.ndjson").write_bytes(lines)
    command = [sys.executable, "-m", "sourced", "import", there, "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as importing, opened(there) as store:
        assert importing.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            importing.stdin.writelines(itertools.islice(io.BytesIO(lines), 2300))
            importing.stdin.flush()
            while store.transact(store.count(), reading=True) < 2000:
                assert importing.poll() is None
            importing.kill()
    assert len(found(there)["log"]) == 2000
    sourced("import", there, "shop.ndjson")
    assert found(there) == everything(original)


def opened(url: str) -> contextlib.closing[Store]:
    return contextlib.closing(store_at(url))


def test_who_interrupts_an_import_is_told_that_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """And who looks meanwhile, that it is not for him to start the groups."""
    monkeypatch.chdir(tmp_path)
    before = filled()
    lines = sourced("export", "sqlite:///shop.db", "-").stdout_bytes
    command = [sys.executable, "-m", "sourced", "import", "sqlite:///copy.db", "-"]
    heed = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stderr=pipe, preexec_fn=heed) as importing:
        assert importing.stdin is not None
        importing.stdin.write(lines[:2_000])
        importing.stdin.flush()
        eventually(lambda: Path("copy.db").exists() and "is being imported: finish that" in looked_into())
        importing.send_signal(signal.SIGINT)
        _, told = importing.communicate()
    assert told == b"interrupted; the same command goes on where it was\n"
    assert importing.returncode == 130
    sourced("import", "sqlite:///copy.db", "-", given=lines)
    assert found("sqlite:///copy.db") == before


def looked_into() -> str:
    return CliRunner().invoke(program, ["doctor", "sqlite:///copy.db"]).output


def test_who_watches_sees_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    filled()
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"TERM": "xterm"}
    command = [sys.executable, "-m", "sourced", "export", "sqlite:///shop.db", "shop.ndjson"]
    with subprocess.Popen(command, stderr=theirs, env=environment):
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):
            while chunk := os.read(ours, 65536):
                shown += chunk
    os.close(ours)
    assert "exporting" in shown.decode()
    assert "━" in shown.decode()
