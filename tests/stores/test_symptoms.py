"""What is wrong with the database itself, told by `doctor` with what to do about it."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from sourced import Sourced
from sourced.clock import SystemClock
from sourced.doctor import Finding
from sourced.ops import Op
from sourced.store import Snapshot
from sourced.stores._sqlite import symptoms
from sourced.stores.memory import MemoryStore
from sourced.stores.postgres import PostgresStore
from sourced.stores.sqlite import SqliteStore
from tests.runtime.listener import Noted


@pytest.fixture(params=[None, "events"])
def postgres(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[PostgresStore]:
    with contextlib.closing(PostgresStore(postgres_url, schema=request.param)) as store:
        store.migrate()
        yield store


def changed(store: PostgresStore, statement: str) -> None:
    with psycopg.connect(store.url, autocommit=True) as other:
        other.execute(f"set search_path to {store.schema or 'public'}".encode())
        other.execute(statement.encode())


def found(store: object) -> list[Finding]:
    return [*Sourced(store).doctor()]  # type: ignore[arg-type]


def test_an_index_that_somebody_has_dropped_is_missed_until_it_is_made_again_as_it_is_said(postgres: PostgresStore):
    changed(postgres, "drop index sourced_messages_by_story")
    (missed,) = found(postgres)
    assert (missed.weight, missed.about) == ("trouble", "sourced_messages_by_story")
    assert missed.why.startswith("this index is not there any more: what is looked for by it takes longer")
    changed(postgres, missed.advice.removeprefix("make it again: "))
    assert found(postgres) == []


def test_a_table_that_somebody_has_dropped_is_missed(postgres: PostgresStore):
    changed(postgres, "drop table sourced_snapshots")
    (missed,) = found(postgres)
    assert (missed.about, missed.why) == (
        "sourced_snapshots", "this table is not there any more: what is kept there fails"
    )  # fmt: skip
    changed(postgres, missed.advice.removeprefix("make it again: "))
    assert found(postgres) == []


def test_an_index_that_was_not_built_to_its_end_is_told(postgres: PostgresStore):
    changed(postgres, "update pg_index set indisvalid = false where indexrelid = 'sourced_scheduled_by_time'::regclass")
    (broken,) = found(postgres)
    assert broken.why.startswith("this index was not built to its end")
    assert broken.advice.startswith('make it again: drop index "sourced_scheduled_by_time"; create index "sourced_sch')


def test_vacuum_that_is_switched_off_for_a_table_is_told(postgres: PostgresStore):
    changed(postgres, "alter table sourced_progress set (autovacuum_enabled = off)")
    (idle,) = found(postgres)
    assert (idle.about, "it is switched off for sourced_progress: " in idle.why) == ("autovacuum", True)


@pytest.mark.parametrize(("apart", "said"), [(90, "90 s ahead of the database's"), (-90, "90 s behind the database's")])
def test_a_machine_whose_clock_is_apart_from_the_database_s_is_told(postgres_url: str, apart: int, said: str):
    with contextlib.closing(PostgresStore(postgres_url)) as store:
        store.migrate()
        ours = SystemClock()
        (symptom,) = store.transact(store.symptoms(lambda: ours.now() + timedelta(seconds=apart)), reading=True)
    assert symptom.about == "the clock of this machine"
    assert said in symptom.why


def test_a_log_that_grows_since_somebody_reads_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As soon as he has come to his end, the next commit moves it into the file."""
    monkeypatch.setattr(symptoms, "MUCH", 5 << 20)
    path = tmp_path / "shop.db"
    with contextlib.closing(SqliteStore(path)) as store, contextlib.closing(sqlite3.connect(path)) as reader:
        app = Sourced(store)
        reader.execute("begin")
        reader.execute("select count(*) from sourced_messages").fetchall()
        for _ in range(6):
            app.append("s", Noted("x" * (1 << 20)))
        (grows,) = found(store)
        assert (grows.weight, grows.about) == ("trouble", "the log shop.db-wal")
        assert "MB of it cannot be moved into shop.db, for somebody reads there" in grows.why
        reader.rollback()
        app.append("s", Noted("done"))
        assert found(store) == []
    assert symptoms.not_moved(path) == 0


class Full(MemoryStore):
    def snapshots(self, group: str, streams: Sequence[str]) -> Op[dict[str, Snapshot]]:
        raise OSError("its disk is gone")


def test_snapshots_in_a_store_that_cannot_be_asked_are_told():
    app = Sourced(snapshots=Full())
    (gone,) = app.doctor()
    assert (gone.weight, gone.about) == ("trouble", "snapshots")
    assert "cannot be asked, so every stream is read from its beginning: its disk is gone" in gone.why
    assert Sourced(snapshots=MemoryStore()).doctor() == []
