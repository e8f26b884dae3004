"""`app.using(connection)`: what Sourced stores is committed, or rolled back, with the caller's own rows."""

import asyncio
import contextlib
import sqlite3
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import django.conf
import psycopg
import pytest
import sqlalchemy
from django.apps import apps
from django.db import connections, transaction
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from sourced import (
    Actor,
    Command,
    Conflict,
    DefinitionError,
    Duplicate,
    Event,
    Message,
    Rejection,
    Sourced,
    after_commit,
    decide,
    evolve,
    sync,
)
from sourced.errors import InTransaction, NeedsAwait, Unavailable
from sourced.notifiers.local import LocalNotifier
from sourced.stores.postgres import PostgresStore
from sourced.stores.sqlite import SqliteStore
from sourced.testing.postgres import Databases, Postgres


class Add(Command):
    number: int


class Added(Event):
    number: int


class TooMuch(Rejection):
    """That is too much."""


class Sum(Actor[int]):
    """Adds up; says no to what is above 100, fails while it saves what is below 0, and tells what was committed."""

    told: list[int] = []

    def initial(self, stream):
        return 0

    @decide
    def add(self, total: int, command: Add):
        if command.number > 100:
            raise TooMuch(command.number)
        yield Added(command.number)

    @evolve
    def added(self, total: int, event: Added):
        return total + event.number

    @sync
    def save(self, total: int, batch: Any, tx: Any):
        if total < 0:
            raise ValueError(total)

    @after_commit
    def tell(self, total: int, batch: Any):
        self.told.append(total)


@dataclass
class Place:
    """Somebody's open connection to the database that an app keeps its log in."""

    app: Sourced
    connection: Any
    write: Callable[[str], object]  # the caller's own row
    commit: Callable[[], object]
    rollback: Callable[[], object]

    def rows(self) -> list[str]:
        """What the caller has in his table, as others see it."""
        with self.app.transaction() as client:
            connection: Any = client._connection
            return [row[0] for row in connection.tx.execute("select text from own order by text").fetchall()]


INSERT = "insert into own values ('{}')"


# -- every way to have a connection ----------------------------------------------------------------------------------


def the_driver(raw: Any, app: Sourced) -> Place:
    return Place(app, raw, lambda text: raw.execute(INSERT.format(text)), raw.commit, raw.rollback)


@contextlib.contextmanager
def a_psycopg_connection(app: Sourced, url: str) -> Iterator[Place]:
    with contextlib.closing(psycopg.connect(url)) as raw:
        yield the_driver(raw, app)


@contextlib.contextmanager
def a_psycopg_connection_of_dicts(app: Sourced, url: str) -> Iterator[Place]:
    with contextlib.closing(psycopg.connect(url, row_factory=dict_row, cursor_factory=psycopg.ClientCursor)) as raw:
        yield the_driver(raw, app)


@contextlib.contextmanager
def a_sqlite3_connection(app: Sourced, path: str) -> Iterator[Place]:
    with contextlib.closing(sqlite3.connect(path)) as raw:
        yield the_driver(raw, app)


@contextlib.contextmanager
def a_sqlite3_connection_of_dicts(app: Sourced, path: str) -> Iterator[Place]:
    def as_dict(cursor: sqlite3.Cursor, row: Any) -> dict[str, Any]:
        return {column[0]: value for column, value in zip(cursor.description, row, strict=True)}

    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.row_factory = as_dict
        yield the_driver(raw, app)


@contextlib.contextmanager
def a_sqlite3_connection_with_a_transaction_begun(app: Sourced, path: str) -> Iterator[Place]:
    def begun_anew(end: Callable[[], object]) -> None:
        end()
        raw.execute("begin")

    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        raw.execute("begin")
        place = the_driver(raw, app)
        yield replace(place, commit=lambda: begun_anew(raw.commit), rollback=lambda: begun_anew(raw.rollback))


@contextlib.contextmanager
def a_sqlite3_connection_without_autocommit(app: Sourced, path: str) -> Iterator[Place]:
    if sys.version_info < (3, 12):
        pytest.skip("Python 3.12 has it")
    with contextlib.closing(sqlite3.connect(path, autocommit=False)) as raw:
        yield the_driver(raw, app)


def engine_for(where: str, driver: str = "psycopg") -> Any:
    if where.startswith("postgresql"):
        return where.replace("postgresql://", f"postgresql+{driver}://")
    return f"sqlite:///{where}"


@contextlib.contextmanager
def a_sqlalchemy_connection(app: Sourced, where: str) -> Iterator[Place]:
    engine = sqlalchemy.create_engine(engine_for(where))
    with engine.connect() as connection:
        yield Place(
            app,
            connection,
            lambda text: connection.exec_driver_sql(INSERT.format(text)),
            connection.commit,
            connection.rollback,
        )
    engine.dispose()


@contextlib.contextmanager
def a_sqlalchemy_session(app: Sourced, where: str) -> Iterator[Place]:
    engine = sqlalchemy.create_engine(engine_for(where))
    with Session(engine) as session:
        yield Place(
            app,
            session,
            lambda text: session.execute(sqlalchemy.text(INSERT.format(text))),
            session.commit,
            session.rollback,
        )
    engine.dispose()


@contextlib.contextmanager
def a_scoped_session(app: Sourced, where: str) -> Iterator[Place]:
    engine = sqlalchemy.create_engine(engine_for(where))
    session = scoped_session(sessionmaker(engine))
    yield Place(
        app,
        session,
        lambda text: session.execute(sqlalchemy.text(INSERT.format(text))),
        session.commit,
        session.rollback,
    )
    session.remove()
    engine.dispose()


if not django.conf.settings.configured:
    django.conf.settings.configure(USE_TZ=True)
    apps.populate([])


@contextlib.contextmanager
def djangos_connection(app: Sourced, where: str) -> Iterator[Place]:
    """In an atomic block that is left by `commit` and `rollback`, and entered again."""
    connection = django_connection(where)
    with contextlib.closing(connection):
        blocks = [transaction.atomic(using="default")]
        blocks[0].__enter__()

        def end(error: BaseException | None) -> None:
            with contextlib.suppress(RuntimeError):
                blocks.pop().__exit__(error and type(error), error, None)
            blocks.append(transaction.atomic(using="default"))
            blocks[-1].__enter__()

        def write(text: str) -> None:
            with connection.cursor() as cursor:
                cursor.execute(INSERT.format(text))

        yield Place(app, connection, write, lambda: end(None), lambda: end(RuntimeError("rolled back")))
        blocks.pop().__exit__(None, None, None)


def django_connection(where: str) -> Any:
    if where.startswith("postgresql"):
        parts = psycopg.conninfo.conninfo_to_dict(where)
        names = {"NAME": "dbname", "HOST": "host", "USER": "user", "PORT": "port", "PASSWORD": "password"}
        settings = {"ENGINE": "django.db.backends.postgresql"} | {to: parts.get(own, "") for to, own in names.items()}
    else:
        settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": where}
    vars(connections)["settings"] = connections.configure_settings({"default": settings})
    connections["default"] = connections.create_connection("default")
    return connections["default"]


ON_POSTGRES = [
    a_psycopg_connection,
    a_psycopg_connection_of_dicts,
    a_sqlalchemy_connection,
    a_sqlalchemy_session,
    a_scoped_session,
    djangos_connection,
]
ON_SQLITE = [
    a_sqlite3_connection,
    a_sqlite3_connection_of_dicts,
    a_sqlite3_connection_with_a_transaction_begun,
    a_sqlite3_connection_without_autocommit,
    a_sqlalchemy_connection,
    a_sqlalchemy_session,
    a_scoped_session,
    djangos_connection,
]


# -- databases -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def databases(postgres_server: Postgres) -> Iterator[Databases]:
    with Databases(postgres_server, install) as databases:
        yield databases


def install(url: str) -> None:
    with contextlib.closing(PostgresStore(url)) as store:
        store.migrate()
    with psycopg.connect(url) as connection:
        connection.execute("create table own (text text primary key)")


@pytest.fixture
def postgres(databases: Databases) -> Iterator[str]:
    with databases.fresh() as url:
        yield url


@pytest.fixture
def sqlite(tmp_path: Any) -> str:
    path = str(tmp_path / "shop.db")
    SqliteStore(path).close()
    with contextlib.closing(sqlite3.connect(path)) as raw:
        raw.execute("create table own (text text primary key)")
    return path


@contextlib.contextmanager
def app_on(where: str) -> Iterator[Sourced]:
    with Sourced(where if where.startswith("postgresql") else f"sqlite:///{where}") as app:
        app.register(Sum)
        yield app


KINDS = [("postgres", way) for way in ON_POSTGRES] + [("sqlite", way) for way in ON_SQLITE]


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0]}-{kind[1].__name__}")
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    database, way = request.param
    where = request.getfixturevalue(database)
    with app_on(where) as app, way(app, where) as place:
        yield place


@pytest.fixture
def on_postgres(postgres: str) -> Iterator[Place]:
    with app_on(postgres) as app, a_psycopg_connection(app, postgres) as place:
        yield place


@pytest.fixture
def on_sqlite(sqlite: str) -> Iterator[Place]:
    with app_on(sqlite) as app, a_sqlite3_connection(app, sqlite) as place:
        yield place


# -- the contract ----------------------------------------------------------------------------------------------------


def test_it_is_committed_with_the_callers_rows(place: Place):
    client = place.app.using(place.connection)
    client.execute(Add(1), to="a")
    place.write("mine")
    client.append("b", Added(2))
    place.commit()
    assert place.rows() == ["mine"]
    assert place.app.load(Sum, "a").state == 1
    assert [message.seq for message in place.app.history("b")] == [1]


def test_it_is_rolled_back_with_the_callers_rows(place: Place):
    """D71."""
    place.write("mine")
    client = place.app.using(place.connection)
    client.execute(Add(1), to="a")
    client.dispatch(Add(2), to="b")
    client.append("c", Added(3))
    place.rollback()
    assert place.rows() == []
    assert (place.app.status().position, place.app.status().scheduled) == (0, 0)
    place.app.execute(Add(5), to="a")
    assert place.app.load(Sum, "a").state == 5


def test_it_reads_what_the_transaction_wrote_and_nobody_else_does(place: Place):
    assert place.app.history("a") == []
    client = place.app.using(place.connection)
    client.execute(Add(1), to="a")
    loaded = client.load(Sum, "a")
    loaded.execute(Add(2))
    assert loaded.state == client.load(Sum, "a").state == 3
    assert [message.seq for message in client.history("a")] == [1, 2, 3, 4]
    assert place.app.history("a") == []
    place.commit()
    assert place.app.load(Sum, "a").state == 3


def test_a_rejected_command_leaves_the_transaction_usable(place: Place):
    client = place.app.using(place.connection)
    client.execute(Add(1), to="a")
    with pytest.raises(TooMuch):
        client.execute(Add(101), to="a")
    place.write("mine")
    client.execute(Add(2), to="a")
    place.commit()
    assert place.app.load(Sum, "a").state == 3
    assert place.rows() == ["mine"]


def test_a_verb_that_fails_on_the_way_is_undone_by_itself(place: Place):
    client = place.app.using(place.connection)
    place.write("mine")
    client.execute(Add(1), to="a")
    with pytest.raises(ValueError, match="-8"):
        client.execute(Add(-9), to="a")
    place.commit()
    assert place.app.load(Sum, "a").state == 1
    assert place.rows() == ["mine"]


def test_a_conflict_leaves_the_transaction_usable(place: Place):
    place.app.execute(Add(1), to="a")
    client = place.app.using(place.connection)
    with pytest.raises(Conflict):
        client.append("a", Added(2), expected_seq=7)
    with pytest.raises(Conflict):
        client.execute(Add(2), to="a", expected_seq=7)
    place.write("mine")
    client.append("a", Added(2), expected_seq=2)
    place.commit()
    assert place.app.load(Sum, "a").state == 3


def test_a_duplicate_among_several_leaves_the_transaction_usable(place: Place):
    """D70."""
    client = place.app.using(place.connection)
    (first,) = client.append("a", Added(1))
    several = [Message.new(Added(2), stream="b"), Message.new(Added(3), stream="b")]
    with pytest.raises(Duplicate):
        client.append("b", [*several, Message.new(Added(4), stream="b", id=first.id)])
    client.append("b", several)
    place.commit()
    assert [message.payload.number for message in place.app.history("b")] == [2, 3]


def test_nobody_is_told_before_the_commit(place: Place):
    """J166."""
    place.app.execute(Add(1), to="a")
    place.app._engine.notifier = LocalNotifier()  # and none that hears of what others commit
    with place.app._engine.notifier.listen() as listener:
        Sum.told.clear()
        place.app.using(place.connection).execute(Add(2), to="a")
        place.commit()
        assert not listener.wait(0)
        assert Sum.told == []
        place.app.wake()
        assert listener.wait(0)


def test_what_was_rolled_back_is_not_remembered(place: Place):
    place.app.execute(Add(1), to="a")
    place.app.using(place.connection).execute(Add(50), to="a")
    place.rollback()
    place.app.append("a", [Added(2), Added(2)])  # where the other two were
    place.app.execute(Add(4), to="a")
    assert place.app.load(Sum, "a").state == 9


def test_what_is_dispatched_is_handled_once_it_is_committed(place: Place):
    client = place.app.using(place.connection)
    client.dispatch(Add(1), to="a")
    client.dispatch(Add(2), to="a")
    place.commit()
    place.app.wake()
    place.app.drain()
    assert place.app.load(Sum, "a").state == 3
    assert [m.payload.number for m in place.app.history("a") if isinstance(m.payload, Add)] == [1, 2]


def test_what_is_dispatched_for_later_waits_from_the_commit_on(place: Place):
    for finish, waiting in ((place.rollback, 0), (place.commit, 1)):
        place.write("order")
        client = place.app.using(place.connection)
        message = client.dispatch(Add(1), to="later", after=60)
        assert [each.record.id for each in client.scheduled.list()] == [message.id]
        finish()
        assert place.app.status().scheduled == len(place.rows()) == waiting
    assert (place.app.drain(), place.app.history("later")) == (0, [])


def test_the_connection_is_left_as_it_was(place: Place):
    before = settings_of(place.connection)
    client = place.app.using(place.connection)
    client.execute(Add(1), to="a")
    with contextlib.suppress(TooMuch):
        client.execute(Add(101), to="a")
    place.commit()
    assert settings_of(place.connection) == before


def settings_of(connection: Any) -> list[Any]:
    names = ("autocommit", "isolation_level", "row_factory", "cursor_factory", "text_factory", "closed")
    return [getattr(connection, name, None) for name in names]


def test_only_reading_begins_nothing_on_sqlite(on_sqlite: Place):
    on_sqlite.app.execute(Add(1), to="a")
    assert on_sqlite.app.using(on_sqlite.connection).load(Sum, "a").state == 1
    assert not on_sqlite.connection.in_transaction


def test_a_group_that_nobody_knows_yet_is_known_at_the_commit(place: Place):
    place.write("mine")
    place.app.using(place.connection).execute(Add(1), to="a")
    place.commit()
    assert [group.name for group in place.app.groups.list()] == ["Sum"]
    place.app.drain()
    assert place.app.groups.get(Sum).lag == 0


# -- what differs ----------------------------------------------------------------------------------------------------


def test_on_postgres_a_dispatch_holds_nobody_up(on_postgres: Place):
    on_postgres.app.using(on_postgres.connection).dispatch(Add(1), to="a")
    on_postgres.app.append("a", Added(2))  # the transaction is open: a lock would be waited for
    on_postgres.commit()
    on_postgres.app.drain()
    assert on_postgres.app.load(Sum, "a").state == 3


def test_on_postgres_one_id_dispatched_twice_is_stored_once(on_postgres: Place):
    client = on_postgres.app.using(on_postgres.connection)
    message = client.dispatch(Add(1), to="a")
    client.dispatch(message)
    on_postgres.commit()
    on_postgres.app.drain()
    on_postgres.app.using(on_postgres.connection).dispatch(message)
    on_postgres.commit()
    on_postgres.app.drain()
    assert on_postgres.app.load(Sum, "a").state == 1


def test_a_transaction_of_psycopgs_own_is_joined(postgres: str):
    with app_on(postgres) as app, psycopg.connect(postgres, autocommit=True) as connection:
        with pytest.raises(DefinitionError, match="commits every statement"):
            app.using(connection).execute(Add(1), to="a")
        with connection.transaction():
            app.using(connection).execute(Add(2), to="a")
        with contextlib.suppress(ZeroDivisionError), connection.transaction():
            app.using(connection).execute(Add(3), to="a")
            raise ZeroDivisionError
        assert app.load(Sum, "a").state == 2


def test_a_sqlite3_connection_that_commits_every_statement_is_refused(sqlite: str):
    """A transaction begun for one verb would stay open, and everybody else's writing would wait."""
    ways: list[dict[str, Any]] = [{"isolation_level": None}]
    if sys.version_info >= (3, 12):
        ways.append({"autocommit": True})
    for way in ways:
        with app_on(sqlite) as app, contextlib.closing(sqlite3.connect(sqlite, **way)) as connection:
            with pytest.raises(DefinitionError, match="commits every statement by itself; execute 'begin immediate'"):
                app.using(connection).append("a", Added(1))
            with pytest.raises(DefinitionError, match="commits every statement"):
                asyncio.run(app.aio.using(connection).append("a", Added(1)))
            connection.execute("begin immediate")
            app.using(connection).append("a", Added(1))
            connection.execute("rollback")
            app.append("b", Added(2))
            assert app.using(connection).history("a") == [], "reading begins nothing"


def test_a_transaction_that_has_failed_takes_nothing_more(on_postgres: Place):
    client = on_postgres.app.using(on_postgres.connection)
    with pytest.raises(psycopg.errors.DivisionByZero):
        on_postgres.connection.execute("select 1 / 0")
    with pytest.raises(Unavailable, match="has failed; roll it back"):
        client.append("a", Added(1))
    on_postgres.rollback()
    client.append("a", Added(1))
    on_postgres.commit()
    assert on_postgres.app.load(Sum, "a").state == 1


def test_on_postgres_an_append_holds_its_shard_until_the_commit(on_postgres: Place, postgres: str):
    app = on_postgres.app
    app.using(on_postgres.connection).append("a", Added(1))
    with psycopg.connect(postgres) as other:
        other.execute("set local lock_timeout = 10")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            app.using(other).append("a", Added(2))
        app.using(other).append("b", Added(3))  # another shard
        on_postgres.commit()
        app.using(other).append("a", Added(2))
    assert [message.payload.number for message in app.history("a")] == [1, 2]


@pytest.mark.parametrize("said", ["using", "transaction"])
def test_who_says_where_he_stores_takes_all_places_at_once(on_postgres: Place, postgres: str, said: str):
    """Whatever the order in which he stores, two who do so never wait for each other."""
    app = on_postgres.app
    client = app.using(on_postgres.connection, streams=["a", "c"] if said == "using" else ())
    assert client.history("a") == [], "who only reads takes no place"
    with psycopg.connect(postgres) as other:
        other.execute("set lock_timeout = 10")
        app.using(other, streams=["a", "c"]).append("c", Added(1))
        other.commit()
        if said == "using":
            client.append("a", Added(2))
        else:
            with client.transaction(streams=["a", "c"]):
                assert client.history("a") == []
        with pytest.raises(psycopg.errors.LockNotAvailable):
            app.using(other).append("c", Added(3))
        with pytest.raises(psycopg.errors.LockNotAvailable):
            app.using(other, streams=["b", "a"]).append("b", Added(3))
        app.using(other).append("b", Added(4))
        on_postgres.commit()
        app.using(other).append("a", Added(5))


def test_places_that_were_said_are_taken_in_each_of_its_transactions(place: Place):
    client = place.app.using(place.connection, streams=["a", "b"])
    client.execute(Add(1), to="b")
    with pytest.raises(TooMuch):
        client.execute(Add(101), to="a")
    place.commit()
    client.execute(Add(2), to="a")
    place.rollback()
    client.append("a", Added(3))
    place.commit()
    assert [place.app.load(Sum, stream).state for stream in ("a", "b")] == [3, 1]


def test_a_savepoint_of_the_callers_takes_it_back(postgres: str):
    engine = sqlalchemy.create_engine(engine_for(postgres))
    with app_on(postgres) as app, Session(engine) as session, session.begin():
        app.using(session).execute(Add(1), to="a")
        with contextlib.suppress(ZeroDivisionError), session.begin_nested():
            app.using(session).execute(Add(2), to="a")
            raise ZeroDivisionError
        assert app.using(session).load(Sum, "a").state == 1
    engine.dispose()


def test_a_snapshot_that_is_older_than_the_stream_is_a_conflict(on_postgres: Place):
    on_postgres.connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    client = on_postgres.app.using(on_postgres.connection)
    assert client.history("a") == []
    on_postgres.app.append("a", Added(1))
    with pytest.raises(Conflict) as caught:
        client.append("a", Added(2))
    assert (caught.value.expected, caught.value.actual) == (0, 1)
    on_postgres.write("mine")
    on_postgres.commit()
    assert on_postgres.rows() == ["mine"]


def test_a_read_on_sqlite_that_is_outdated_is_told(on_sqlite: Place):
    on_sqlite.connection.execute("begin")
    on_sqlite.connection.execute("select * from own").fetchall()
    on_sqlite.app.append("a", Added(1))
    with pytest.raises(Unavailable, match="begin immediate"):
        on_sqlite.app.using(on_sqlite.connection).append("a", Added(2))


def test_on_sqlite_a_writer_waits_for_the_one_before(sqlite: str):
    with app_on(sqlite) as app, a_sqlite3_connection(app, sqlite) as first, a_sqlite3_connection(app, sqlite) as second:
        store = SqliteStore(sqlite, timeout=0.01)
        app.using(first.connection).execute(Add(1), to="a")
        second.connection.execute("pragma busy_timeout = 0")
        with contextlib.closing(store), pytest.raises(Unavailable, match="locked"):
            Sourced(store).using(second.connection).append("a", Added(2))
        first.commit()
        app.using(second.connection).append("a", Added(2))
        second.commit()
        assert app.load(Sum, "a").state == 3


# -- misuse ----------------------------------------------------------------------------------------------------------


def test_a_store_that_is_no_database_has_nothing_to_join():
    with pytest.raises(DefinitionError, match="MemoryStore"):
        Sourced().using(sqlite3.connect).append("a", Added(1))


def test_what_is_no_connection_is_refused(postgres: str, sqlite: str):
    engine = sqlalchemy.create_engine(engine_for(sqlite))
    with app_on(postgres) as on_postgres, app_on(sqlite) as on_sqlite:
        with contextlib.closing(sqlite3.connect(sqlite)) as raw, pytest.raises(DefinitionError, match="psycopg"):
            on_postgres.using(raw).history("a")
        with engine.connect() as connection, pytest.raises(DefinitionError, match=r"psycopg .*over sqlite3"):
            on_postgres.using(connection).history("a")
        with psycopg.connect(postgres) as raw, pytest.raises(DefinitionError, match="found psycopg"):
            on_sqlite.using(raw).history("a")
        with pytest.raises(DefinitionError, match="Engine"):
            on_sqlite.using(engine).history("a")
        with pytest.raises(DefinitionError, match=r"builtins\.str"):
            on_sqlite.using("shop.db").history("a")
    engine.dispose()


def test_another_database_is_refused(postgres: str, databases: Databases, sqlite: str, tmp_path: Any):
    elsewhere = pytest.raises(DefinitionError, match="expected a connection to")
    with app_on(postgres) as app, databases.fresh() as other, psycopg.connect(other) as raw, elsewhere:
        app.using(raw).append("a", Added(1))
    with app_on(sqlite) as app:
        for path in (":memory:", str(tmp_path / "other.db")):
            elsewhere = pytest.raises(DefinitionError, match="expected a connection to")
            with contextlib.closing(sqlite3.connect(path)) as raw, elsewhere:
                app.using(raw).append("a", Added(1))


def test_bytes_for_text_are_refused(on_sqlite: Place):
    on_sqlite.connection.text_factory = bytes
    with pytest.raises(DefinitionError, match="text_factory"):
        on_sqlite.app.using(on_sqlite.connection).history("a")


def test_django_outside_of_atomic_is_refused(sqlite: str):
    refused = pytest.raises(DefinitionError, match="atomic")
    with app_on(sqlite) as app, contextlib.closing(django_connection(sqlite)) as connection, refused:
        app.using(connection).append("a", Added(1))


def test_inside_a_transaction_of_the_apps_it_is_refused(place: Place):
    with place.app.transaction() as client:
        with pytest.raises(InTransaction):
            client.using(place.connection)
        with pytest.raises(InTransaction):
            place.app.using(place.connection).append("a", Added(1))


def test_waiting_for_what_nobody_can_see_is_refused(on_postgres: Place):
    client = on_postgres.app.using(on_postgres.connection)
    with pytest.raises(InTransaction):
        client.wait_for(client.append("a", Added(1))[0])


# -- awaited ---------------------------------------------------------------------------------------------------------


async def check(app: Sourced, connection: Any, write: Any, commit: Any, rollback: Any) -> None:
    """The contract once more."""
    assert await app.aio.history("a") == []
    client = app.aio.using(connection)
    await client.execute(Add(1), to="a")
    with pytest.raises(TooMuch):
        await client.execute(Add(101), to="a")
    await write(INSERT.format("mine"))
    await client.dispatch(Add(2), to="b")
    assert (await client.load(Sum, "a")).state == 1
    assert await app.aio.history("a") == []
    await commit()
    await app.aio.wake()
    await app.aio.drain()
    await client.execute(Add(4), to="a")
    await rollback()
    assert [(await app.aio.load(Sum, stream)).state for stream in ("a", "b")] == [1, 2]


def test_a_psycopg_async_connection(postgres: str):
    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(postgres) as connection:
            await check(app, connection, connection.execute, connection.commit, connection.rollback)
            with pytest.raises(NeedsAwait):
                app.using(connection).history("a")

    with app_on(postgres) as app:
        asyncio.run(main())


@pytest.mark.parametrize("said", ["using", "transaction"])
def test_awaited_as_well_all_places_are_taken_at_once(postgres: str, said: str):
    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(postgres) as connection:
            client = app.aio.using(connection, streams=["a", "c"] if said == "using" else ())
            if said == "using":
                await client.append("a", Added(1))
            async with client.transaction(streams=["a", "c"] if said == "transaction" else ()):
                pass
            with pytest.raises(psycopg.errors.LockNotAvailable):
                app.using(other).append("c", Added(2))

    with app_on(postgres) as app, psycopg.connect(postgres) as other:
        other.execute("set lock_timeout = 10")
        other.commit()
        asyncio.run(main())


def test_a_sqlalchemy_async_connection(postgres: str):
    async def main() -> None:
        engine = create_async_engine(engine_for(postgres))
        async with engine.connect() as connection:
            await check(app, connection, connection.exec_driver_sql, connection.commit, connection.rollback)
            with pytest.raises(NeedsAwait):
                app.using(connection).history("a")
        await engine.dispose()

    with app_on(postgres) as app:
        asyncio.run(main())


def test_a_sqlalchemy_async_session(postgres: str):
    async def main() -> None:
        engine = create_async_engine(engine_for(postgres))
        async with AsyncSession(engine) as session:

            async def write(text: str) -> None:
                await session.execute(sqlalchemy.text(text))

            await check(app, session, write, session.commit, session.rollback)
        await engine.dispose()

    with app_on(postgres) as app:
        asyncio.run(main())


def test_a_sqlite3_connection_awaited(sqlite: str):
    async def main() -> None:
        with contextlib.closing(sqlite3.connect(sqlite)) as raw:

            async def write(text: str) -> None:
                raw.execute(text)

            async def commit() -> None:
                raw.commit()

            async def rollback() -> None:
                raw.rollback()

            await check(app, raw, write, commit, rollback)

    with app_on(sqlite) as app:
        asyncio.run(main())


def test_one_who_waits_for_the_lock_leaves_the_loop_to_others(sqlite: str):
    async def main() -> None:
        with contextlib.closing(sqlite3.connect(sqlite)) as one, contextlib.closing(connected_to_wait()) as other:
            await app.aio.using(one).append("a", Added(1))
            waiting = asyncio.create_task(app.aio.using(other).append("a", Added(2)))
            await asyncio.sleep(0)  # until it stands before the lock
            await app.aio.using(one).append("a", Added(3))
            one.commit()
            await waiting
            other.commit()

    def connected_to_wait() -> sqlite3.Connection:
        return sqlite3.connect(sqlite, timeout=0)

    with app_on(sqlite) as app:
        app.status()
        asyncio.run(main())
        assert [message.payload.number for message in app.history("a")] == [1, 3, 2]


def test_awaited_a_connection_that_blocks_is_refused(on_postgres: Place):
    with pytest.raises(DefinitionError, match="AsyncConnection"):
        asyncio.run(on_postgres.app.aio.using(on_postgres.connection).history("a"))


def test_aiosqlite_is_refused(sqlite: str):
    pytest.importorskip("aiosqlite")

    async def main() -> None:
        engine = create_async_engine(engine_for(sqlite).replace("sqlite:", "sqlite+aiosqlite:"))
        async with engine.connect() as connection:
            with pytest.raises(DefinitionError, match="sqlite3"):
                await app.aio.using(connection).history("a")
        await engine.dispose()

    with app_on(sqlite) as app:
        asyncio.run(main())
