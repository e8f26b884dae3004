"""The commands a person looks at an app with, and acts on it: on a real app in a file of its own."""

import contextlib
import fcntl
import getpass
import json
import os
import pty
import re
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import termios
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sourced.cli.program import program
from tests.cli.app import APP
from tests.facts import PATIENCE


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder with `shop.py` in it, which is where the person sits."""
    (tmp_path / "shop.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def end() -> None:
        """Every command is a process of its own."""
        if module := sys.modules.pop("shop", None):
            module.app.close()

    def sourced(*words: object, code: int = 0, given: str = "") -> str:
        end()
        result = CliRunner().invoke(program, [*map(str, words)], input=given, catch_exceptions=False)
        assert result.exit_code == code, result.output
        assert not [
            line for line in result.output.splitlines() if line.strip() and line.endswith(" ") and "[y/N]" not in line
        ]
        return result.output

    yield sourced
    end()


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
        (("nothing", "o1"), "no message named 'nothing' in Payload; register a reactor"),
        (("Order", "o1"), "no message named 'Order' in Payload; did you mean 'order'?"),
        (("shiped", "o1"), "no message named 'shiped' in Payload; did you mean 'shipped'?"),
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
    assert "orders at seq 6\n  [1, 2, 3]\n" in shop("show", "shop:app", "o1")
    assert shop("show", "shop:app", "o1", "-n", 2).splitlines()[0] == "4 messages before these"
    past = told(shop, "show", "shop:app", "o1", "--at", 4)
    assert past["states"] == {"orders": [1, 2]}
    assert [each["seq"] for each in past["history"]] == [1, 2, 3, 4]
    assert shop("show", "shop:app", "o9", code=1) == "nothing is stored in 'o9'\n"
    assert "states" in told(shop, "show", "sqlite:///shop.db", "o1")


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
    assert trouble["advice"] == "start a worker: sourced worker shop:app"
    assert "→ start a worker: sourced worker shop:app" in shop("doctor", "shop:app", code=1)
    before, idle = told(shop, "groups", "shop:app")
    assert (idle["group"], idle["lag"], idle["why"]) == ("parcels", 0, "")  # what is not for it is nothing to wait for
    assert (before["status"], before["lag"], before["why"]) == ("active", 1, "no worker is alive")
    assert before["seconds_behind"] > 0
    drained()
    groups = {each["group"]: each for each in told(shop, "groups", "shop:app")}
    assert (groups["parcels"]["parked"], groups["orders"]["lag"]) == (1, 0)
    assert groups["parcels"]["why"] == "1 stream is parked"
    assert "1 stream is parked" in shop("groups", "shop:app")
    assert "sourced retry shop:app --group parcels --stream parcel-13" in shop("doctor", "shop:app", code=1)
    assert "no parcel has this number" in shop("parked", "sqlite:///shop.db")


def test_parked_streams_are_chosen_looked_into_and_retried(shop: Any):
    shop("execute", "shop:app", "order", "o1", '{"n": 13}')
    drained()
    (row,) = told(shop, "parked", "shop:app")
    assert (row["stream"], row["type"], row["error"]) == ("parcel-13", "ship", "ValueError: no parcel has this number")
    for words, found in (
        (["--group", "parcels"], 1), (["--group", "orders"], 0), (["--stream", "parcel-13"], 1),
        (["--error", "no parcel"], 1), (["--error", "no such error"], 0), (["--type", "ship"], 1),
        (["--type", "order"], 0),
    ):  # fmt: skip
        assert len(told(shop, "parked", "shop:app", *words)) == found
        said = f"would retry {found} stream:" if found else "nothing that is parked fits"
        assert shop("retry", "shop:app", *words, "--dry-run").splitlines()[0] == said
    assert 'raise ValueError("no parcel has this number")' in shop("parked", "shop:app", "--traceback")
    assert "parked for" in shop("show", "shop:app", "parcel-13")
    assert "parked for parcels: ValueError" in shop("trace", "shop:app", "o1#1")
    assert shop("retry", "shop:app", "--reason", "mended") == (
        "retried 1 stream:\n  parcels  parcel-13#1  ValueError: no parcel has this number\n"
    )
    assert shop("retry", "shop:app") == "nothing is parked\n"
    (event,) = operations(shop)
    assert (event["type"], event["payload"]["reason"]) == ("sourced.parked_retried", "mended")
    assert event["payload"]["by"] == f"{getpass.getuser()}@{socket.gethostname()}"


def operations(shop: Any) -> Any:
    return told(shop, "show", "shop:app", "sourced.operations")["history"]


def test_a_message_is_skipped_by_one_who_has_seen_it(shop: Any):
    shop("execute", "shop:app", "order", "o1", '{"n": 13}')
    drained()
    words = ["skip", "shop:app", "parcels", "parcel-13", "--reason", "unlucky"]
    planned = "would give up parcel-13#1 for parcels: ValueError: no parcel has this number\n"
    assert shop(*words, "--dry-run") == planned
    assert shop(*words, given="n\n", code=1).startswith(planned)
    assert shop(*words, code=1).startswith(planned)  # nobody is there to be asked
    assert "at seq 1, not at the expected 2" in shop(*words, "--seq", 2, "--yes", code=1)
    assert len(told(shop, "parked", "shop:app")) == 1
    done = shop(*words, "--seq", 1, "--by", "vera", given="y\n")
    assert done.endswith("gave up parcel-13#1; what is behind it goes on\n")
    (event,) = operations(shop)
    assert (event["type"], event["payload"]["by"]) == ("sourced.parked_skipped", "vera")
    drained()
    assert shop("parked", "shop:app") == "nothing is parked\n"
    assert shop("doctor", "shop:app") == "All is well: nothing waits.\n"
    assert "NotKnown: stream 'parcel-13' is not parked" in shop(*words, code=1)


def test_a_group_is_stopped_started_and_replayed(shop: Any):
    shop("execute", "shop:app", "order", "o1", '{"n": 1}')
    drained()
    assert shop("stop", "shop:app", "orders", "-r", "looking", "--dry-run") == "would stop orders\n"
    assert shop("stop", "shop:app", "orders", "-r", "looking", "--by", "vera") == "stopped orders\n"
    assert shop("stop", "shop:app", "orders", "-r", "again") == "orders is stopped already\n"
    assert "by vera (looking); nothing waits for it" in shop("doctor", "shop:app", code=1)
    assert "by vera (looking)" in shop("groups", "shop:app")
    assert shop("start", "shop:app", "orders", "--dry-run") == "would start orders\n"
    assert shop("start", "shop:app", "orders") == "started orders\n"
    assert shop("start", "shop:app", "orders") == "orders runs already\n"
    planned = "orders would be given 2 messages again\n"
    assert shop("replay", "shop:app", "orders", "--dry-run") == planned
    assert shop("replay", "shop:app", "orders", code=1, given="n\n").startswith(planned)
    drained()
    assert told(shop, "groups", "shop:app")[0]["lag"] == 0
    assert shop("replay", "shop:app", "orders", "--yes") == f"{planned}orders begins anew\n"
    assert told(shop, "groups", "shop:app")[0]["lag"] == 2
    assert [each["type"].rpartition(".")[2] for each in operations(shop)] == [
        "group_stopped", "group_started", "group_reset"
    ]  # fmt: skip


def test_what_is_scheduled_is_listed_cancelled_and_hastened(shop: Any):
    script = "import shop; [print(shop.app.dispatch(shop.Order(1), to='o1', after=3600).id) for _ in '12']"
    printed = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, text=True).stdout
    one, other = printed.split()
    assert "in 59 min" in shop("scheduled", "shop:app")
    assert one in shop("scheduled", "sqlite:///shop.db")
    first = told(shop, "scheduled", "sqlite:///shop.db")[0]
    assert (first["id"], first["stream"], first["type"], first["payload"]) == (one, "o1", "order", {"n": 1})
    assert f"more are due later: --after {one}\n" in shop("scheduled", "shop:app", "-n", 1)
    assert [each["id"] for each in told(shop, "scheduled", "sqlite:///shop.db", "-n", 1, "--after", one)] == [other]
    assert shop("scheduled", "shop:app", "--after", other) == "nothing more is scheduled\n"
    assert "--after nobody: no such message waits" in shop("scheduled", "shop:app", "--after", "nobody", code=2)
    cancelling = ["cancel", "shop:app", one, "nobody", "--reason", "a test"]
    assert shop(*cancelling, "--dry-run", code=1).endswith("not on the schedule: nobody\n")
    assert len(told(shop, "scheduled", "shop:app")) == 2
    assert "would cancel 1 message:\n  order for o1, due " in shop(*cancelling, given="n\n", code=1)
    assert "cancelled 1 message\nnot on the schedule: nobody\n" in shop(*cancelling, "--yes", code=1)
    assert shop("cancel", "shop:app", one, code=1) == f"not on the schedule: {one}\n"
    assert "would move 1 message into the log:" in shop("run-now", "shop:app", other, "--dry-run")
    assert "moved 1 message into the log:" in shop("run-now", "shop:app", other)
    assert shop("scheduled", "shop:app") == "nothing is scheduled\n"
    assert [each["id"] for each in told(shop, "show", "shop:app", "o1")["history"]] == [other]


def test_a_long_payload_is_cut_where_a_person_looks_and_whole_for_programs(shop: Any):
    script = """if True:
        import shop, sourced
        class Noted(sourced.Event, type="noted"):
            text: str
        shop.app.append("long", Noted("x" * 100_000))"""
    subprocess.run([sys.executable, "-c", script], check=True)
    shown = shop("show", "sqlite:///shop.db", "long")
    assert "…" in shown
    assert len(shown) < 4_000
    (message,) = told(shop, "show", "sqlite:///shop.db", "long")["history"]
    assert message["payload"] == {"text": "x" * 100_000}


def test_an_empty_log_is_no_mystery(shop: Any):
    assert shop("tail", "shop:app") == "nothing is stored yet\n"
    assert shop("tail", "shop:app", "-t", "order") == "nothing that is stored fits\n"
    assert shop("tail", "shop:app", "--json") == ""


def test_it_says_which_one_it_is(shop: Any):
    assert re.fullmatch(r"sourced \d+\.\d+\.\d+, Python 3\.\d+\.\d+\n", shop("--version"))


def test_workers_that_are_alive_are_listed(shop: Any):
    assert shop("workers", "shop:app") == "no worker is alive\n"


def test_the_end_of_the_log_is_chosen_by_stream_and_type(shop: Any):
    for n in (1, 2):
        shop("execute", "shop:app", "order", f"o{n}", json.dumps({"n": n}))
    drained()

    def found(*words: object) -> list[str]:
        lines = [json.loads(line) for line in shop("tail", "shop:app", "--json", *words).splitlines()]
        return [f"{each['stream']}#{each['seq']}" for each in lines]

    assert len(found()) == 8
    assert found("-n", 3) == found()[-3:]
    assert found("--stream", "o2") == ["o2#1", "o2#2"]
    assert found("-s", "o1", "-s", "o2", "-n", 3) == ["o1#2", "o2#1", "o2#2"]
    assert found("--type", "order") == ["o1#1", "o2#1"]
    assert found("-t", "order", "-t", "ordered", "-s", "o2") == ["o2#1", "o2#2"]
    assert found("-n", 0) == found("--type", "nothing") == []


@contextlib.contextmanager
def following(*words: str):
    """`tail -f` in a process of its own, and its next line."""
    command = [sys.executable, "-m", "sourced", "tail", "shop:app", "-f", *words]
    heed = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heed) as tail:
        assert tail.stdout is not None
        try:
            yield tail, tail.stdout.readline
        finally:
            tail.kill()


def test_the_log_is_followed_until_interrupted(shop: Any):
    """What was there before and was not asked for stays unsaid."""
    for n in (1, 2, 3):
        shop("dispatch", "shop:app", "order", "o1", json.dumps({"n": n}))
    with following("-n", "1") as (tail, next_line):
        assert "o1#3" in next_line()
        shop("dispatch", "shop:app", "order", "o2", '{"n": 2}')
        assert "o2#1" in next_line()
        tail.send_signal(signal.SIGINT)
        assert tail.wait(PATIENCE) == 130


def test_the_log_is_followed_as_json_line_by_line_as_far_as_it_is_wanted(shop: Any):
    shop("dispatch", "shop:app", "order", "o1", '{"n": 1}')
    shop("execute", "shop:app", "order", "o2", '{"n": 1}')
    with following("--json", "--stream", "o2", "--type", "order") as (_, next_line):
        assert json.loads(next_line())["payload"] == {"n": 1}
        shop("execute", "shop:app", "order", "o1", '{"n": 2}')
        shop("execute", "shop:app", "order", "o2", '{"n": 3}')
        assert json.loads(next_line())["payload"] == {"n": 3}


def test_who_stops_listening_ends_it_quietly(shop: Any):
    shop("dispatch", "shop:app", "order", "o1", '{"n": 1}')
    for n in range(3):
        shop("dispatch", "shop:app", "order", f"more-{n}", '{"n": 1}')
    command = f"{sys.executable} -m sourced tail shop:app | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


def test_a_message_nobody_can_read_is_shown_as_it_is(shop: Any):
    shop("execute", "shop:app", "order", "o1", '{"n": 1}')
    drained()
    with contextlib.closing(sqlite3.connect("shop.db")) as raw, raw:
        raw.execute("""update sourced_messages set payload = '{"n": "what?"}' where stream = 'o1' and seq = 2""")
    for words in (["tail", "shop:app"], ["trace", "shop:app", "o1#1"]):
        assert "o1#2" in shop(*words)
    shown = shop("show", "shop:app", "o1")
    assert "what?" in shown
    assert "Undecodable" in shown
    assert [each["seq"] for each in told(shop, "show", "shop:app", "o1")["history"]] == [1, 2]


# -- what it works on


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("sqlite:///typo.db", "there is no typo.db; to begin a new store there: sourced migrate sqlite:///typo.db"),
        ("file:///nowhere/at/all", "there is no /nowhere/at/all; to begin a new store there: sourced migrate file:"),
        ("sqlite:///.", "expected a file, and . is none"),
        (f"file://{__file__}", f"expected a folder, and {__file__} is none"),
        ("memory://", "name the app: module:app"),
        ("shop", "expected module:app, such as shop:app, found 'shop'"),
        ("shop:", "expected module:app"),
        ("shop:aap", "module 'shop' has no 'aap'; did you mean shop:app?"),
        ("shop:Orders", "not an app made with Sourced"),
        ("shp:app", "there is no module 'shp', neither here nor installed"),
        ("shop.py:app", "expected a module and not its file; shop.py:app is called shop:app"),
        ("shop.py", "found 'shop.py'; a store is named by its URL: sqlite:///shop.py"),
    ],
)
def test_a_slip_of_the_pen_is_told_and_makes_nothing(shop: Any, target: str, said: str):
    assert said in " ".join(shop("groups", target, code=2).replace("│", " ").split())
    assert not Path("typo.db").exists()


@pytest.mark.parametrize("command", [["ui", "shop:app"], ["demo", "--database", "sqlite:///never.db"]])
def test_a_port_that_is_taken_is_told_before_anything_is_begun(shop: Any, command: list[str]):
    with socket.create_server(("127.0.0.1", 0)) as others:
        port = str(others.getsockname()[1])
        said = " ".join(shop(*command, "--port", port, code=2).replace("│", " ").split())
    assert f"--port {port}: nobody can listen there: Address already in use; --port 0 takes any that is free" in said
    assert "should be less than or equal to 65535" in shop(*command, "--port", "99999", code=2)
    assert not Path("never.db").exists()


def theirs(journal: str) -> None:
    with contextlib.closing(sqlite3.connect("theirs.db")) as raw, raw:
        raw.execute(f"pragma journal_mode = {journal}")
        raw.execute("create table theirs (id)")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            partial(theirs, "wal"),
            "expected tables of version 1, found none; if this is the right file, `sourced migrate`",
        ),
        (partial(theirs, "delete"), "expected tables of version 1, found none"),
        (lambda: Path("theirs.db").touch(), "expected tables of version 1, found none"),
        (lambda: Path("theirs.db").write_text("a letter to my aunt\n" * 99), "file is not a database"),
    ],
    ids=["another program's", "in another mode", "empty", "no database"],
)
@pytest.mark.parametrize("command", ["doctor", "streams", "ui", "export"])
def test_who_looks_at_somebody_elses_file_leaves_it_alone(shop: Any, make: Any, said: str, command: str):
    make()
    there, before = sorted(os.listdir()), Path("theirs.db").read_bytes()
    assert said in shop(command, "sqlite:///theirs.db", *(["out"] if command == "export" else []), code=1)
    assert (sorted(os.listdir()), Path("theirs.db").read_bytes()) == (there, before)


def test_who_looks_at_somebody_elses_folder_leaves_it_alone(shop: Any):
    there = sorted(os.listdir())
    assert "expected the folder of a file store, found no state.jsonl" in shop("doctor", f"file://{Path.cwd()}", code=1)
    assert sorted(os.listdir()) == there


@pytest.mark.parametrize(("scheme", "made"), [("sqlite", "made log_groups_schedule"), ("file", "made folder")])
def test_a_new_store_is_begun_by_who_says_so(shop: Any, scheme: str, made: str):
    url = "sqlite:///new" if scheme == "sqlite" else f"file://{Path.cwd()}/new"
    assert made in shop("migrate", url)
    assert "nothing to do" in shop("migrate", url)
    assert shop("streams", url) == "no stream holds anything yet\n"


def test_a_store_alone_can_be_looked_at_and_not_acted_on(shop: Any):
    shop("execute", "shop:app", "order", "o1", '{"n": 1}')
    assert "ordered" in shop("tail", "sqlite:///shop.db")
    assert "expected module:app" in shop("stop", "sqlite:///shop.db", "orders", "-r", "why", code=2)
    assert "no group named 'nobody'" in shop("stop", "shop:app", "nobody", "-r", "why", code=1)


def test_the_same_on_postgresql(shop: Any, postgres_url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHOP", postgres_url)
    shop("migrate", "shop:app")
    shop("execute", "shop:app", "order", "o1", '{"n": 13}')
    with following("--json", "-n", "1") as (_, next_line):
        assert json.loads(next_line())["type"] == "ordered"
        drained()
        assert json.loads(next_line())["stream"] == "parcel-13"
    for target in ("shop:app", postgres_url):
        assert "no parcel has this number" in shop("parked", target)
        assert "1 stream is parked" in shop("groups", target)
        assert "parked for parcels" in shop("trace", target, "o1#1")
        assert "parcel-13" in shop("doctor", target, code=1)
    assert "retried 1 stream" in shop("retry", "shop:app", "--error", "no parcel")
    shop("stop", "shop:app", "parcels", "-r", "why")
    assert [each["type"] for each in operations(shop)] == ["sourced.parked_retried", "sourced.group_stopped"]


# -- how it looks


def on_a_terminal(columns: int, *words: str, **environment: str) -> str:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR", "TERM")}
    command = [sys.executable, "-m", "sourced", *words]
    with subprocess.Popen(command, stdout=theirs, env={**env, "TERM": "xterm-256color", **environment}):
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while chunk := os.read(ours, 65536):
                shown += chunk
    os.close(ours)
    return shown.decode()


def test_a_terminal_gets_colours_and_lines_of_its_width_and_a_pipe_neither(shop: Any):
    shop("execute", "shop:app", "order", "o1", '{"n": 13}')
    drained()
    wide = subprocess.run(
        [sys.executable, "-m", "sourced", "parked", "shop:app"], check=True, capture_output=True, text=True,
        env={name: value for name, value in os.environ.items() if name != "COLUMNS"},
    ).stdout  # fmt: skip
    assert len(wide.splitlines()) == 2
    assert wide.splitlines()[1].endswith("ValueError: no parcel has this number")
    assert "\033" not in wide
    narrow = on_a_terminal(70, "parked", "shop:app")
    assert "\033[31m" in narrow
    plain = re.sub(r"\033\[[0-9;]*m", "", narrow).splitlines()
    assert len(plain) > 2
    assert max(map(len, plain)) <= 70
    assert "\033[31m" not in on_a_terminal(70, "parked", "shop:app", NO_COLOR="1")
    assert "\033" not in on_a_terminal(70, "parked", "shop:app", TERM="dumb")


def test_nothing_is_cut_off_where_it_is_very_narrow(shop: Any, monkeypatch: pytest.MonkeyPatch):
    shop("execute", "shop:app", "order", "o1", '{"n": 13}')
    drained()
    monkeypatch.setenv("COLUMNS", "34")
    lines = shop("parked", "shop:app").splitlines()
    assert max(map(len, lines)) <= 34
    assert {*"parcels"} <= {*"".join(line[:8] for line in lines[1:])}
    assert "".join("".join(line[:5].split()) for line in lines).endswith("parcels")


def test_where_nobody_can_answer_nothing_is_done(shop: Any):
    asked = ["replay", "shop:app", "orders"]
    shop("execute", "shop:app", "order", "o1", '{"n": 1}')
    assert "nobody is here to say yes, so nothing was done; --yes does not ask\n" in shop(*asked, code=1)
    assert shop(*asked, code=1, given="n\n").endswith("[y/N]: n\nnothing was done\n")
    assert "begins anew" in shop(*asked, given="y\n")


@pytest.mark.parametrize("command", [["stop", "shop:app", "orders"], ["skip", "shop:app", "parcels", "parcel-13"]])
def test_a_reason_that_must_be_given_says_something(shop: Any, command: list[str]):
    assert "say why, for those who will ask" in shop(*command, "--reason", " ", code=2)


def test_what_goes_wrong_is_told_on_a_line_and_as_json_where_that_was_asked_for(
    shop: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("COLUMNS")
    for words, code, kind, said in (
        (["groups", "nosuch:app"], 2, "UsageError", "there is no module 'nosuch', neither here nor installed"),
        (["groups"], 2, "UsageError", "Missing argument 'target'"),
        (["skip", "shop:app", "parcels", "o1"], 2, "UsageError", "Missing option"),
        (["groups", "odd://x"], 1, "DefinitionError", "no store for 'odd://x': expected memory://"),
        (["workflows", "show", "shop:app", "x-1"], 1, "NotKnown", "x-1"),
    ):
        for json_too in ([], ["--json"]):
            if words[0] == "skip" and json_too:
                continue
            sys.modules.pop("shop", None)  # every command is a process of its own
            result = CliRunner().invoke(program, [*words, *json_too])
            assert (result.exit_code, result.stdout) == (code, "")
            (line,) = result.stderr.splitlines()
            if json_too:
                told = json.loads(line)
                assert told["error"] == kind
                assert said in told["message"]
            else:
                assert line.startswith(f"{kind}: ")
                assert said in line


def test_a_group_of_commands_without_one_says_which_there_are(shop: Any):
    result = CliRunner().invoke(program, ["workflows"])
    assert result.exit_code == 2
    assert "signal" in result.output


def test_what_is_not_there_ends_with_1_as_json_too(shop: Any):
    assert told(shop, "show", "shop:app", "nothing", code=1) == {"history": [], "states": {}, "waiting": []}
    assert told(shop, "trace", "shop:app", "nothing#1", code=1) == []


def test_of_very_many_streams_that_are_parked_doctor_tells_some(shop: Any):
    script = """if True:
        import shop
        for n in range(7):
            shop.app.dispatch(shop.Ship(13), to=f"parcel-{n}")
        shop.app.drain()"""
    subprocess.run([sys.executable, "-c", script], check=True, stderr=subprocess.DEVNULL)
    said = shop("doctor", "shop:app", code=1)
    assert said.count("no parcel has this number") == 5
    assert said.endswith("parcels\n  and 2 more like these\n  → sourced parked shop:app --group parcels lists them\n")
    assert len(told(shop, "doctor", "shop:app", code=1)) == 7


def test_doctor_says_what_is_worth_knowing_after_all_is_well(shop: Any):
    script = """if True:
        import shop
        shop.app.doctor()
        shop.app.store.transact(shop.app.store.register("renamed", "beginning"))"""
    subprocess.run([sys.executable, "-c", script], check=True)
    said = shop("doctor", "shop:app")
    assert said.startswith("All is well: nothing waits.\nrenamed\n  nothing in this app handles for it")
