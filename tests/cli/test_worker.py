"""`sourced worker`: in one process or several, which are kept running and end with whoever started them."""

import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sourced import Sourced
from sourced.cli.program import program
from sourced.cli.working import _introduced
from sourced.runtime.workers import supervisor
from sourced.runtime.workers.supervisor import Supervisor
from tests.facts import PATIENCE, until
from tests.ports import a_free_port
from tests.runtime.listener import Noted, handled
from tests.workers.crew import held, on_a_loop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no signals")

ROOT = Path(__file__).parents[2]
APP = f"""
import sys
sys.path.append({str(ROOT)!r})
from tests.workers.works import made
from sourced import Sourced

app = made("sqlite:///works.db", "plain", lease=1.0)
in_memory = made("memory://", "plain")
empty = Sourced()
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sourced]:
    from tests.workers.works import made

    (tmp_path / "works.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "works", raising=False)
    with made("sqlite:///works.db", "plain", lease=1.0) as app:
        yield app
    if imported := sys.modules.pop("works", None):  # by a command that was refused
        imported.app.close()


@pytest.fixture
def start(app: Sourced) -> Iterator[Any]:
    """Starts `sourced worker works:app …` in a session of its own; nothing of it outlives the test."""
    begun: list[subprocess.Popen[str]] = []

    def start(*options: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "sourced", "worker", "works:app", *options]
        pipe = subprocess.PIPE
        begun.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True))
        return begun[-1]

    yield start
    for child in pids(app):
        signalled(child, signal.SIGKILL)
    for each in begun:
        each.kill()
        each.communicate()


def signalled(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def wait(fact: Any) -> Any:
    return on_a_loop(until(fact))


def pids(app: Sourced) -> set[int]:
    return {each.pid for each in app.workers()}


def crew(app: Sourced, count: int = 2) -> set[int]:
    """As soon as so many are alive, and no other."""
    found: set[int] = wait(lambda: len(pids(app)) == count and pids(app))
    return found


def until_begun(worker: "subprocess.Popen[str]") -> None:
    """What is in hand, but not begun, is given back by who is told to stop."""
    assert worker.stdout
    for line in worker.stdout:
        if line == "begins slow\n":
            return
    raise AssertionError("it ended before it began")


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    told, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, told, errors


def test_one_process_says_what_it_works_on_and_ends_when_it_is_told(app: Sourced, start: Any):
    worker = start("--rounds", "3")
    (alive,) = wait(app.workers)
    assert (alive.pid, alive.rounds) == (worker.pid, 3)
    app.append("s", Noted("1"))
    wait(lambda: handled(app, "1") == [1])
    worker.terminate()
    code, told, errors = ended(worker)
    assert (code, errors) == (0, "")
    assert told.startswith("Working on SqliteStore('works.db'): plain (1 process, 3 rounds of each group at a time). ")


def test_several_are_kept_running_and_all_of_them_end_when_it_is_told(app: Sourced, start: Any):
    """One that is killed is replaced, and what it had in hand is handled by the others."""
    worker = start("--processes", "2")
    before = crew(app)
    assert worker.pid not in before
    app.append("s", Noted("slow"))
    (busy,) = wait(lambda: {each.owner.split(":")[1] for each in app.groups.get("plain").progress if each.owner})
    os.kill(int(busy), signal.SIGKILL)
    wait(lambda: len(pids(app) - before) == 1)
    app.append("go", Noted("go"))
    wait(lambda: handled(app, "slow") == [1])
    worker.terminate()
    code, _, errors = ended(worker)
    assert code == 0
    assert f"ERROR {worker.pid} sourced.supervisor: worker process {busy} was killed by SIGKILL; another" in errors
    assert (held(app), app.workers()) == ([], []) or {each.pid for each in app.workers()} == {int(busy)}


@pytest.mark.parametrize("processes", [1, 2])
def test_prometheus_scrapes_all_of_them_at_one_port(app: Sourced, start: Any, processes: int):
    """What was counted by one that died stays counted; what the store tells is told once."""
    port = a_free_port()
    worker = start("--processes", str(processes), "--metrics", str(port))
    children = crew(app, processes)
    texts = [str(n) for n in range(6)]
    for text in texts[:3]:
        app.append(f"s{text}", Noted(text))
    wait(lambda: handled(app, *texts[:3]) == [1, 1, 1])
    wait(lambda: scraped(port).get('sourced_handled_total{group="plain"}') == 3)
    if processes > 1:
        os.kill(min(children), signal.SIGKILL)
        wait(lambda: len(pids(app) - children) == 1)
    for text in texts[3:]:
        app.append(f"s{text}", Noted(text))
    wait(lambda: scraped(port).get('sourced_handled_total{group="plain"}') == 6)
    assert scraped(port)["sourced_up"] == 1
    assert 'sourced_lag_messages{group="plain"}' in scraped(port)
    worker.terminate()
    code, told, _ = ended(worker)
    assert (code, f"Metrics are at http://127.0.0.1:{port}/metrics" in told) == (0, True)


def scraped(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if name[0] != "#"}


@pytest.mark.parametrize("whom", ["the whole terminal", "every process"])
def test_everybody_may_be_told_at_once(app: Sourced, start: Any, whom: str):
    """Ctrl-C goes to whoever is in the foreground, and service managers like to tell every process they know of."""
    worker = start("--processes", "2")
    children = crew(app)
    app.append("s", Noted("slow"))
    until_begun(worker)
    if whom == "every process":
        for each in (*children, worker.pid):
            os.kill(each, signal.SIGTERM)
    else:
        os.killpg(worker.pid, signal.SIGINT)
    app.append("go", Noted("go"))
    assert ended(worker)[0] == 0
    assert handled(app, "slow") == [1]
    assert (held(app), app.workers()) == ([], [])


def test_when_the_supervisor_is_killed_its_processes_end_by_themselves(app: Sourced, start: Any):
    """And in good order: nothing is left in hand."""
    worker = start("--processes", "2")
    children = crew(app)
    worker.kill()
    wait(lambda: not app.workers())
    wait(lambda: not any(signalled(each, 0) for each in children))
    assert held(app) == []


@pytest.mark.parametrize("how", ["grace", "told again"])
def test_who_does_not_come_to_its_end_is_killed(app: Sourced, start: Any, how: str):
    """When its time is up, or at the second signal; the exit code says so, and nothing is lost."""
    worker = start("--processes", "2", "--grace", "0.2" if how == "grace" else "1000")
    children = crew(app)
    app.append("s", Noted("slow"))
    until_begun(worker)
    worker.terminate()
    if how == "told again":
        wait(lambda: sum(signalled(each, 0) for each in children) == 1)  # the other one had nothing to do
        worker.terminate()
    code, _, errors = ended(worker)
    assert code == 1
    assert errors.count("is killed, it has not come to its end") in (1, 2)  # the idle one may be about to end
    assert not any(signalled(each, 0) for each in children)
    app.append("go", Noted("go"))
    wait(lambda: app.drain() and handled(app, "slow") == [1])


def test_who_dies_again_and_again_is_started_again_with_longer_and_longer_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
):
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.005)
    deaths = tmp_path / "deaths"
    script = f"import sys; open({str(deaths)!r}, 'a').write('x'); sys.exit(3)"

    def told() -> None:
        wait(lambda: deaths.exists() and len(deaths.read_text()) >= 3)
        os.kill(os.getpid(), signal.SIGTERM)

    teller = threading.Thread(target=told)
    teller.start()
    assert Supervisor([sys.executable, "-c", script], 1).run() in (0, 1)  # the last one may have been about to die
    teller.join()
    said = [each.getMessage().partition(" ended with ")[2] for each in caplog.records if "exit code" in each.message]
    assert said[:2] == [
        "exit code 3; another one is started in 0.0 s", "exit code 3; another one is started in 0.0 s"
    ]  # fmt: skip
    pauses = [supervisor.pause(deaths) for deaths in range(1, 20)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == supervisor.LONGEST_PAUSE


@pytest.mark.parametrize("processes", [1, 2])
def test_tables_that_do_not_fit_are_told_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str, processes: int
):
    """Or a supervisor would start its processes again and again."""
    code = f"from tests.workers.works import made\napp = made({postgres_url!r}, 'plain')"
    (tmp_path / "unmigrated.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "unmigrated", raising=False)
    result = CliRunner().invoke(program, ["worker", "unmigrated:app", f"--processes={processes}"])
    assert result.exit_code == 1
    assert "expected tables of version 1, found none; run app.migrate(), or `sourced migrate`, first" in result.stderr
    assert result.stdout == ""


def test_a_worker_in_memory_says_that_it_sees_nobody_elses_messages(tmp_path: Path):
    alone = "What other processes store is not seen here: each has a memory of its own."
    assert alone in _introduced(Sourced(), 1, 2)
    with Sourced(f"sqlite:///{tmp_path}/shop.db") as shared:
        assert alone not in _introduced(shared, 1, 2)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["nowhere:app"], "there is no module 'nowhere'"),
        (["works:empty"], "nothing is registered with works:empty"),
        (["works:in_memory", "--processes", "2"], "is for one process alone"),
        (["works:app", "--processes", "0"], "--processes"),
        (["works:app", "--metrics", "here"], "--metrics here: expected a port, or host:port"),
        (["works:app", "--metrics", "99999"], "--metrics 99999: nobody can listen there"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_started(app: Sourced, arguments: list[str], why: str):
    result = CliRunner().invoke(program, ["worker", *arguments])
    assert result.exit_code == 2
    assert why in " ".join(result.output.replace("│", "").split())
