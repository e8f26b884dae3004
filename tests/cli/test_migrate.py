"""`sourced migrate` and `app.migrate()`: the tables are made by us, or by a tool of the user's."""

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from sourced import Event, Sourced
from sourced.cli.program import program
from sourced.errors import InTransaction, SchemaMismatch, Unavailable
from sourced.stores.postgres import PostgresStore


class Happened(Event):
    """Something did."""


def sourced(*words: object) -> Any:
    return CliRunner().invoke(program, ["migrate", *map(str, words)])


def works(url: str, **options: Any) -> bool:
    with contextlib.closing(PostgresStore(url, **options)) as store:
        return Sourced(store).append("a", Happened())[0].seq == 1


def test_it_makes_the_tables_and_then_finds_nothing_to_do(postgres_url: str):
    first = sourced(postgres_url)
    assert first.exit_code == 0
    assert "made log_groups_schedule" in first.output
    assert works(postgres_url)
    assert "nothing to do" in sourced(postgres_url).output


def test_schema_prefix_and_shards_are_the_users_choice(postgres_url: str):
    assert sourced(postgres_url, "--schema", "events", "--prefix", "our_", "--shards", 7).exit_code == 0
    assert works(postgres_url, schema="events", prefix="our_", shards=7)
    with pytest.raises(SchemaMismatch, match="7"):
        works(postgres_url, schema="events", prefix="our_")


def test_the_script_it_prints_makes_the_tables_too(postgres_url: str):
    script = sourced(postgres_url, "--schema", "events", "--sql").stdout
    with psycopg.connect(postgres_url) as connection:
        connection.execute(script.encode())
    assert works(postgres_url, schema="events")
    assert sourced(postgres_url, "--schema", "events", "--missing").stdout == ""


def test_what_is_missing_is_asked_of_the_database(postgres_url: str):
    assert sourced(postgres_url, "--missing").stdout == sourced(postgres_url, "--sql").stdout != ""


def test_the_files_it_writes_make_the_tables_too(postgres_url: str, tmp_path: Path):
    assert sourced(postgres_url, "--directory", tmp_path / "sql").exit_code == 0
    files = sorted((tmp_path / "sql").iterdir())
    assert [file.name for file in files] == [
        f"{step.number:04}_{step.name}.sql" for step in PostgresStore(postgres_url).migrations()
    ]
    with psycopg.connect(postgres_url) as connection:
        for file in files:
            connection.execute(file.read_bytes())
    assert works(postgres_url)
    assert sourced(postgres_url, "--directory", tmp_path / "sql").stdout == ""


def test_a_file_that_was_changed_is_not_written_over(postgres_url: str, tmp_path: Path):
    sourced(postgres_url, "--directory", tmp_path)
    first = min(tmp_path.iterdir())
    first.write_text("mine")
    result = sourced(postgres_url, "--directory", tmp_path)
    assert (result.exit_code, first.read_text()) == (1, "mine")
    assert first.name in result.output


def test_other_stores_make_their_tables_when_they_are_opened(tmp_path: Path):
    for url, said in (
        ("memory://", "nothing to do"),
        (f"sqlite:///{tmp_path / 'shop.db'}", "made log_groups_schedule"),
    ):
        result = sourced(url)
        assert result.exit_code == 0
        assert said in result.output
        assert sourced(url, "--sql").exit_code == sourced(url, "--prefix", "x_").exit_code == 2


def test_a_store_that_is_not_there_is_told_in_a_sentence(tmp_path: Path):
    result = sourced(f"postgresql://nobody@/none?host={tmp_path}")
    assert result.exit_code == 1
    assert result.output.startswith("Unavailable: PostgreSQL 'none'")
    assert "Traceback" not in result.output


# -- module:app ------------------------------------------------------------------------------------------------------


def test_an_app_is_found_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str):
    (tmp_path / "little_shop.py").write_text(f"from sourced import Sourced\napp = Sourced({postgres_url!r})\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    assert sourced("little_shop:app").exit_code == 0
    assert works(postgres_url)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("shop", "expected module:app"),
        ("no_such_shop:app", "no module 'no_such_shop'"),
        ("sourced.nowhere:app", "no module 'sourced.nowhere'"),
        ("sourced:app_of_mine", "'sourced' has no 'app_of_mine'"),
        ("sourced:Actor", "not an app"),
        ("sourced:Actor --shards 7", "says so itself"),
    ],
)
def test_what_is_no_app_is_told(target: str, why: str):
    result = sourced(*target.split())
    assert result.exit_code == 2
    assert why in " ".join(result.output.replace("│", " ").split())


def test_a_module_that_cannot_be_imported_shows_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "broken_shop.py").write_text("import there_is_no_such_thing\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(sourced("broken_shop:app").exception, ModuleNotFoundError)


# -- the command itself ----------------------------------------------------------------------------------------------


def test_it_runs_as_a_module():
    run = subprocess.run(
        [sys.executable, "-m", "sourced", "migrate", "memory://"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "nothing to do" in run.stdout


def test_without_the_extra_it_says_what_to_install():
    script = "import sys; sys.modules['typer'] = None; from sourced.__main__ import main; main()"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "pip install 'sourced-py[cli]'" in run.stderr


# -- in Python -------------------------------------------------------------------------------------------------------


def test_an_app_migrates_its_own_store(postgres_url: str):
    with Sourced(postgres_url) as app:
        with pytest.raises(SchemaMismatch, match="migrate"):
            app.append("a", Happened())
        assert app.migrate() == ["log_groups_schedule"]
        assert asyncio.run(app.aio.migrate()) == []
        assert app.append("a", Happened())[0].seq == 1
        with app.transaction() as client, pytest.raises(InTransaction):
            client.migrate()


def test_in_memory_there_is_nothing_to_migrate():
    assert Sourced().migrate() == asyncio.run(Sourced().aio.migrate()) == []


def test_a_closed_store_cannot_be_migrated(postgres_url: str):
    app = Sourced(postgres_url)
    app.close()
    with pytest.raises(Unavailable):
        app.migrate()
