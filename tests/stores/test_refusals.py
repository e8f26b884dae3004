"""What stands in the way is named: servers that are not there or too old, wrong passwords, tables of others."""

import asyncio
import contextlib
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from sourced.errors import DefinitionError, SchemaMismatch, Unavailable
from sourced.stores.postgres import PostgresStore
from sourced.stores.sqlite import SqliteStore
from sourced.testing.conformance.bench import entry, kept
from sourced.testing.postgres import TempPostgres
from tests.facts import eventually
from tests.stores.lines import line_to
from tests.stores.meanwhile import terminate

Attempt = Callable[[Any], object]

attempts = pytest.mark.parametrize(
    "attempt",
    [
        lambda store: store.commit([entry("s")]),
        lambda store: asyncio.run(store.commit_async([entry("s")])),
        lambda store: store.transact(store.append([entry("s")])),
        lambda store: asyncio.run(store.transact_async(store.append([entry("s")]))),
        lambda store: store.transact(store.extent(), reading=True),
        lambda store: asyncio.run(store.transact_async(store.extent(), reading=True)),
    ],
    ids=["commit", "commit_async", "transact", "transact_async", "read", "read_async"],
)


@contextlib.contextmanager
def opened(url: str, **options: Any) -> Iterator[PostgresStore]:
    with contextlib.closing(PostgresStore(url, **options)) as store:
        yield store


# -- PostgreSQL: servers


@attempts
@pytest.mark.parametrize("place", ["host=/nowhere", "host=localhost port=1"], ids=["socket", "port"])
def test_a_server_that_is_not_there_is_named_at_once(attempt: Attempt, place: str):
    """Without the password, and without waiting: nobody has ever met it, so nothing says that it will come."""
    with opened(f"postgresql:///shop?user=me&password=secret&{place.replace(' ', '&')}", timeout=60) as store:
        started = monotonic()
        with pytest.raises(Unavailable, match="PostgreSQL 'shop' at ") as caught:
            attempt(store)
        assert monotonic() - started < 20
    assert place.split()[0].partition("=")[2] in str(caught.value)
    assert not caught.value.unsure
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value, ConnectionError)


@pytest.fixture(scope="module")
def guarded(postgres_binaries: Path):
    """A server that asks everybody but its administrator for a password."""
    with TempPostgres(postgres_binaries) as server:
        rules = server.home / "data" / "pg_hba.conf"
        rules.write_text("local all postgres trust\nlocal all all scram-sha-256\n", "utf-8")
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("create role clerk login password 'right'")
            connection.execute("create role guest login password 'right'")
            connection.execute("grant all on database postgres to clerk")
            connection.execute("grant all on schema public to clerk")
            connection.execute("select pg_reload_conf()")
        with opened(url_of(server, "clerk")) as store:
            store.migrate()
        eventually(lambda: is_refused(server))  # as soon as the server has read its rules
        yield server


def is_refused(server: TempPostgres) -> bool:
    try:
        psycopg.connect(url_of(server, "clerk", "wrong")).close()
    except psycopg.OperationalError:
        return True
    return False


def url_of(server: TempPostgres, user: str, password: str = "right") -> str:
    return make_conninfo(server.url(), user=user, password=password)


@attempts
def test_a_wrong_password_is_told_at_once(guarded: TempPostgres, attempt: Attempt):
    with (
        opened(url_of(guarded, "clerk", "wrong")) as store,
        pytest.raises(Unavailable, match='password authentication failed for user "clerk"'),
    ):
        attempt(store)


def test_a_password_that_was_changed_meanwhile_is_told_at_once(guarded: TempPostgres):
    """Who was let in before is waited for when he is being restarted, but not if it is the password that is wrong."""
    with opened(url_of(guarded, "guest"), timeout=60) as store:
        with pytest.raises(Unavailable, match="permission denied"):
            store.transact(store.extent())
        with psycopg.connect(guarded.url(), autocommit=True) as admin:
            admin.execute("alter role guest password 'another'")
        terminate(guarded.url())
        started = monotonic()
        with pytest.raises(Unavailable, match="password authentication failed"):
            store.transact(store.extent())
        assert monotonic() - started < 20
        with psycopg.connect(guarded.url(), autocommit=True) as admin:
            admin.execute("alter role guest password 'right'")


@attempts
def test_a_database_that_does_not_exist_is_named(postgres_server: Any, attempt: Attempt):
    with (
        opened(postgres_server.url("nothing_of_the_kind")) as store,
        pytest.raises(Unavailable, match='database "nothing_of_the_kind" does not exist'),
    ):
        attempt(store)


def test_a_server_that_is_too_old_is_not_spoken_to(postgres_url: str):
    """None so old is to be had, so this one is made to say that it is; what it says when it welcomes us decides."""
    with psycopg.connect(postgres_url) as connection:
        mine = str(connection.info.server_version // 10_000)
    pretended = f"server_version\0{mine}".encode(), b"server_version\x0014"
    with line_to(postgres_url, heard=pretended) as line, opened(line.url) as store:
        for attempt in (
            store.migrate,
            lambda: asyncio.run(store.migrate_async()),
            lambda: store.commit([entry("s")]),
            lambda: asyncio.run(store.commit_async([entry("s")])),
        ):
            with pytest.raises(SchemaMismatch, match="expected PostgreSQL 15 or newer, found 14; update the server"):
                attempt()


# -- PostgreSQL: tables


@attempts
def test_where_there_are_no_tables_it_is_said_how_to_make_them(postgres_url: str, attempt: Attempt):
    with opened(postgres_url) as store:
        with pytest.raises(SchemaMismatch, match=r"found none; run app\.migrate\(\), or `sourced migrate`, first"):
            attempt(store)
        store.migrate()
        attempt(store)


def test_tables_that_vanish_under_a_running_program_are_missed_by_name(database: str):
    with opened(database) as store, psycopg.connect(database, autocommit=True) as admin:
        store.transact(store.extent())
        admin.execute("drop table sourced_messages")
        for attempt in (lambda: store.commit([entry("s")]), lambda: store.transact(store.extent(), reading=True)):
            with pytest.raises(SchemaMismatch, match="sourced_messages"):
                attempt()


@attempts
def test_tables_in_another_schema_or_with_another_prefix_are_not_these(database: str, attempt: Attempt):
    for options in ({"schema": "events"}, {"prefix": "our_"}):
        with opened(database, **options) as store, pytest.raises(SchemaMismatch, match="found none"):
            attempt(store)


@attempts
def test_tables_of_a_newer_version_are_left_alone(database: str, attempt: Attempt):
    with psycopg.connect(database) as connection:
        connection.execute("insert into sourced_migrations (number, name, shards) values (99, 'later', 64)")
    with opened(database) as store, pytest.raises(SchemaMismatch, match="a newer version of Sourced has been here"):
        attempt(store)


@attempts
def test_another_number_of_shards_than_the_tables_were_made_for_is_refused(database: str, attempt: Attempt):
    with (
        opened(database, shards=7) as store,
        pytest.raises(SchemaMismatch, match=r"expected 7 shards, found 64; .* open it with shards=64"),
    ):
        attempt(store)


@attempts
def test_tables_that_another_checkout_made_under_the_same_number_are_refused(database: str, attempt: Attempt):
    """Also those from before there were fingerprints; `migrate` finds something to say, and not nothing to do."""
    for change in ("update sourced_migrations set fingerprint = 'abc'",
                   "alter table sourced_migrations drop column fingerprint"):  # fmt: skip
        with psycopg.connect(database) as connection:
            connection.execute(change.encode())
        for what in (attempt, lambda store: store.migrate(), lambda store: asyncio.run(store.migrate_async())):
            with opened(database) as store, pytest.raises(SchemaMismatch, match="its text has changed since"):
                what(store)


# -- PostgreSQL: rights


@attempts
def test_a_database_that_may_only_be_read_says_so_to_whoever_writes(database: str, attempt: Attempt):
    """A replica, or one that an administrator has set so; reading goes on."""
    with psycopg.connect(database) as connection:
        connection.execute(f"alter database {connection.info.dbname} set default_transaction_read_only = on")
    with opened(database) as store:
        try:
            assert attempt(store) == (0, 0)
        except Unavailable as error:
            assert "it may only be read here" in str(error)  # noqa: PT017
            assert "connect to the primary" in str(error)  # noqa: PT017
        with pytest.raises(Unavailable, match="it may only be read here"):
            store.commit([entry("s")])
        assert store.transact(store.extent(), reading=True) == (0, 0)


def test_tables_cannot_be_made_where_it_may_only_be_read(postgres_url: str):
    with psycopg.connect(postgres_url) as connection:
        connection.execute(f"alter database {connection.info.dbname} set default_transaction_read_only = on")
    with opened(postgres_url) as store:
        for migrate in (store.migrate, lambda: asyncio.run(store.migrate_async())):
            with pytest.raises(Unavailable, match="it may only be read here"):
                migrate()


@attempts
def test_rights_that_are_missing_are_named(guarded: TempPostgres, attempt: Attempt):
    with opened(url_of(guarded, "guest")) as store, pytest.raises(Unavailable, match="permission denied"):
        attempt(store)


# -- SQLite


@attempts
def test_a_file_may_be_opened_again_by_another_name_but_not_with_other_shards(tmp_path: Path, attempt: Attempt):
    with contextlib.closing(SqliteStore(tmp_path / "shop.db", shards=7)):
        pass
    with pytest.raises(SchemaMismatch, match=r"expected 64 shards, found 7; .* open it with shards=7"):
        SqliteStore(tmp_path / "shop.db")
    with contextlib.closing(SqliteStore(tmp_path / "." / "shop.db", shards=7)) as again:
        attempt(again)


def test_a_file_that_another_checkout_made_under_the_same_number_is_refused(tmp_path: Path):
    with contextlib.closing(SqliteStore(tmp_path / "shop.db")):
        pass
    for change in ("update sourced_migrations set fingerprint = 'abc'",
                   "alter table sourced_migrations drop column fingerprint"):  # fmt: skip
        with contextlib.closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as raw:
            raw.execute(change)
        with pytest.raises(
            SchemaMismatch, match=r"step 1 as \w+, found (abc|an older one); its text has changed since"
        ):
            SqliteStore(tmp_path / "shop.db")


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path):
    with contextlib.closing(SqliteStore(tmp_path / "shop.db")) as store, store.transaction() as connection:
        connection.tx.execute("insert into sourced_migrations (number, name, shards) values (99, 'later', 64)")
    with pytest.raises(SchemaMismatch, match="found version 99; a newer version of Sourced has been here"):
        SqliteStore(tmp_path / "shop.db")


def test_a_file_that_is_no_database_is_named_and_left_as_it_is(tmp_path: Path):
    path = tmp_path / "notes.txt"
    path.write_text("a shopping list, and by no means a database\n" * 50, "utf-8")
    before = path.read_bytes()
    with pytest.raises(Unavailable, match=r"notes\.txt.*file is not a database"):
        SqliteStore(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("place", ["missing/shop.db", "."])
def test_a_place_where_no_file_can_be_is_named(tmp_path: Path, place: str):
    with pytest.raises(Unavailable, match="unable to open database file"):
        SqliteStore(tmp_path / place)


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="an administrator may write whatever the rights say"
)
def test_a_file_that_may_only_be_read_says_so(tmp_path: Path):
    path = tmp_path / "shop.db"
    with contextlib.closing(SqliteStore(path)) as store:
        assert kept(store.commit([entry("s")])[0])
    path.chmod(0o400)
    with pytest.raises(Unavailable, match="may not be written to"):
        SqliteStore(path)


def test_a_file_that_is_too_old_a_sqlite_for_us_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 39, 4))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.39.4")
    with pytest.raises(DefinitionError, match=r"expected SQLite 3\.40 or newer, found 3\.39\.4"):
        SqliteStore(tmp_path / "shop.db")
    assert not (tmp_path / "shop.db").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"synchronous": "OFF"}, "expected 'NORMAL' or 'FULL', found 'OFF'"),
        ({"path": ":memory:"}, "expected the path of a file"),
        ({"path": ""}, "expected the path of a file"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: dict[str, Any], said: str):
    with pytest.raises(DefinitionError, match=said):
        SqliteStore(**{"path": tmp_path / "shop.db", **options})
