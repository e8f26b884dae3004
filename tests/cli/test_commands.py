"""The commands a person looks at an app with, and acts on it: on a real app in a file of its own."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sourced.cli.program import program

APP = """
from sourced import Actor, Command, Event, Park, Sourced, decide, evolve, react, dispatch

class Order(Command, type="order"):
    n: int

class Ordered(Event, type="ordered"):
    n: int

class Ship(Command, type="ship"):
    n: int

class Shipped(Event, type="shipped"): ...

class Orders(Actor[list], group="orders"):
    def initial(self, stream): return []

    @decide
    def order(self, state, command: Order):
        yield Ordered(command.n)

    @evolve
    def ordered(self, state, event: Ordered):
        state.append(event.n)

    @react
    def ship(self, state, event: Ordered):
        yield dispatch(Ship(event.n), to=f"parcel-{event.n}")

class Parcels(Actor[None], group="parcels"):
    @decide
    def ship(self, state, command: Ship):
        if command.n == 13:
            raise ValueError("no parcel has this number")
        yield Shipped()

app = Sourced("sqlite:///shop.db", errors=Park())
app.register(Orders, Parcels)
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder with `shop.py` in it, which is where the person sits."""
    (tmp_path / "shop.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def sourced(*words: object, code: int = 0, given: str = "") -> str:
        sys.modules.pop("shop", None)  # every command is a process of its own
        result = CliRunner().invoke(program, [*map(str, words)], input=given, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result.output

    yield sourced
    sys.modules.pop("shop", None)


def drained() -> None:
    script = "import shop; shop.app.drain(); shop.app.close()"
    subprocess.run([sys.executable, "-c", script], check=True)


def told(shop: Any, *words: object, code: int = 0) -> Any:
    return json.loads(shop(*words, "--json", code=code))


def test_a_command_is_executed_and_its_events_are_shown(shop: Any):
    output = shop("execute", "shop:app", "order", "o1", '{"n": "7"}')
    assert "ordered" in output
    assert '{"n":7}' in output


def test_a_message_is_dispatched_and_later_it_is_in_the_log(shop: Any):
    assert "stored as o1#1" in shop("dispatch", "shop:app", "order", "o1", '{"n": 7}')
    (line,) = [json.loads(line) for line in shop("tail", "shop:app", "--json").splitlines()]
    assert (line["stream"], line["type"], line["payload"]) == ("o1", "order", {"n": 7})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("order", "o1", "{"), "expected a JSON object"),
        (("order", "o1", '{"n": "x"}'), "n: expected int"),
        (("nothing", "o1"), "no message named 'nothing'"),
    ],
)
def test_what_cannot_be_sent_is_told_and_nothing_is_stored(shop: Any, words: tuple[str, ...], said: str):
    result = CliRunner().invoke(program, ["dispatch", "shop:app", *words])
    assert result.exit_code in (1, 2)
    assert said.lower() in " ".join(result.output.split()).lower()
    assert told(shop, "streams", "shop:app") == []


def test_streams_and_what_is_in_one_and_what_it_adds_up_to(shop: Any):
    for n in (1, 2, 3):
        shop("execute", "shop:app", "order", "o1", json.dumps({"n": n}))
    drained()
    assert [each["stream"] for each in told(shop, "streams", "shop:app", "-n", 2)] == ["parcel-3", "parcel-2"]
    assert "orders at seq 6: [1, 2, 3]" in shop("show", "shop:app", "o1")
    past = told(shop, "show", "shop:app", "o1", "--at", 4)
    assert past["states"] == {"orders": [1, 2]}
    assert [each["seq"] for each in past["history"]] == [1, 2, 3, 4]
    assert "nothing is stored in 'o9'" in shop("show", "shop:app", "o9")


def test_a_story_is_told_as_a_tree(shop: Any):
    shop("execute", "shop:app", "order", "o1", '{"n": 1}')
    drained()
    story = told(shop, "trace", "shop:app", told(shop, "show", "shop:app", "o1")["history"][0]["id"])
    assert [each["type"] for each in story] == ["order", "ordered", "ship", "shipped"]
    lines = shop("trace", "shop:app", story[2]["id"]).splitlines()
    assert [line.count("    ") for line in lines] == [0, 0, 1, 2]  # each hangs below the one before it
    assert all("└── " in line for line in lines[1:])
    assert shop("trace", "shop:app", "nobody", code=1) == "no message nobody is stored\n"


def test_groups_and_why_they_wait_and_what_to_do_about_it(shop: Any):
    shop("dispatch", "shop:app", "order", "o1", '{"n": 13}')
    (trouble,) = told(shop, "doctor", "shop:app", code=1)[:1]
    assert trouble["advice"] == "start one: sourced worker module:app"
    drained()
    groups = {each["group"]: each for each in told(shop, "groups", "shop:app")}
    assert (groups["parcels"]["parked"], groups["orders"]["lag"]) == (1, 0)
    assert "parked at seq 1" in shop("doctor", "shop:app", code=1)
    (row,) = told(shop, "parked", "shop:app")
    assert (row["stream"], row["error"]) == ("parcel-13", "ValueError: no parcel has this number")
    assert "no parcel has this number" in shop("parked", "sqlite:///shop.db")
    assert shop("retry", "shop:app", "--dry-run") == "1 parked streams would be tried again\n"
    assert shop("retry", "shop:app") == "1 parked streams are tried again\n"
    drained()
    shop("skip", "shop:app", "parcels", "parcel-13", "--reason", "unlucky")
    drained()
    assert shop("parked", "shop:app") == "nothing is parked\n"
    assert shop("doctor", "shop:app") == "All is well: nothing waits.\n"


def test_a_group_is_stopped_started_and_replayed(shop: Any):
    shop("execute", "shop:app", "order", "o1", '{"n": 1}')
    drained()
    shop("stop", "shop:app", "orders", "--reason", "vera: looking")
    assert "vera: looking" in shop("doctor", "shop:app", code=1)
    shop("start", "shop:app", "orders")
    assert shop("replay", "shop:app", "orders", "--dry-run") == "orders would be given 2 messages again\n"
    shop("replay", "shop:app", "orders", code=1, given="n\n")
    drained()
    assert told(shop, "groups", "shop:app")[0]["lag"] == 0
    shop("replay", "shop:app", "orders", "--yes")
    assert told(shop, "groups", "shop:app")[0]["lag"] == 7


def test_what_is_scheduled_is_listed_and_cancelled(shop: Any):
    script = "import shop; print(shop.app.dispatch(shop.Order(1), to='o1', after=3600).id); shop.app.close()"
    id = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    assert id in shop("scheduled", "shop:app")
    assert shop("cancel", "shop:app", id, "nobody", code=1) == "1 of 2 were still there and are cancelled\n"
    assert shop("scheduled", "shop:app") == "nothing is scheduled\n"


def test_workers_that_are_alive_are_listed(shop: Any):
    assert shop("workers", "shop:app") == "no worker is alive\n"


def test_the_log_is_followed_until_interrupted(shop: Any):
    shop("dispatch", "shop:app", "order", "o1", '{"n": 1}')
    command = [sys.executable, "-m", "sourced", "tail", "shop:app", "-f"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert "o1#1" in following.stdout.readline()
        shop("dispatch", "shop:app", "order", "o2", '{"n": 2}')
        assert "o2#1" in following.stdout.readline()
        following.send_signal(signal.SIGINT)
        assert following.wait(10) == 130
