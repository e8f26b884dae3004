"""What `make tour` tells is what happens."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "cart.py"


@pytest.fixture(scope="module")
def told() -> str:
    done = subprocess.run([sys.executable, DEMO], capture_output=True, text=True, encoding="utf-8", env=utf8())
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def utf8(**more: str) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    return {**plain, "PYTHONIOENCODING": "utf-8", "TERM": "xterm", **more}


def test_commands_are_decided_and_the_total_adds_up(told: str):
    assert re.findall(r"total is now €([\d.]+)", told) == ["9.00", "21.00", "21.00"]  # 2 · 4.50, + 12.00


def test_the_refusal_stores_nothing(told: str):
    assert "add_item  refused: The cart takes no more items: cart-1" in told
    assert "The stream had 6 messages and has 6: nothing was stored." in told


def test_time_travel_shows_every_moment(told: str):
    moments = re.findall(r"^ +(\d)  (\w+) +(open|closed) +€([\d.]+)$", told, re.MULTILINE)
    assert moments == [
        ("1", "add_item", "open", "0.00"),
        ("2", "item_added", "open", "9.00"),
        ("3", "add_item", "open", "9.00"),
        ("4", "item_added", "open", "21.00"),
        ("5", "check_out", "open", "21.00"),
        ("6", "checked_out", "closed", "21.00"),
    ]


def test_reactions_change_the_parcel(told: str):
    assert "Before: parcel-1 weighs 0 g and has no label." in told
    assert "app.drain() worked on 5 messages." in told  # two reactions, and the three commands they lead to
    assert "After:  parcel-1 weighs 1050 g and has a label." in told  # three pieces of 350 g


def test_the_story_is_a_tree(told: str):
    drawn = told[told.index("5. ") :].splitlines()[2:10]
    assert [line[3:] for line in drawn] == [
        "check_out  cart-1, seq 5",
        "└─ checked_out  cart-1, seq 6",
        "   ├─ send_receipt  cart-1, seq 7",
        "   │  └─ receipt_sent  cart-1, seq 8",
        "   └─ pack  parcel-1, seq 1",
        "      └─ packed  parcel-1, seq 2",
        "         └─ print_label  parcel-1, seq 3",
        "            └─ label_printed  parcel-1, seq 4",
    ]


def test_a_failure_is_tried_four_times_parked_and_skipped(told: str):
    tries = re.findall(r"OSError: the label printer is jammed \(try (\d)(?:, again in (\d) s)?\)", told)
    assert tries == [("1", "3"), ("2", "6"), ("3", "9"), ("4", "")]
    assert "After 18 s parcel-2 is parked at seq 3" in told
    assert "Meanwhile:  parcel-3 weighs 350 g and has a label." in told
    assert "Skipped:    parcel-2 weighs 350 g and has no label, and 0 streams are parked." in told


def test_the_status_adds_up(told: str):
    assert (
        "32 messages in 7 streams, 0 scheduled" in told
    )  # 12, 9 and 10 of the three stories, and that one was skipped
    assert re.findall(r"^ +(\w+) +(active|stopped) +(\d+) +(\d+)$", told, re.MULTILINE) == [
        ("Cart", "active", "0", "0"),
        ("Parcel", "active", "0", "0"),
    ]


def test_colours_are_for_terminals_and_can_be_refused(told: str):
    assert "\033" not in told
    assert "\033[" in on_a_terminal()
    assert "\033" not in on_a_terminal(NO_COLOR="1")
    assert "\033" not in on_a_terminal(TERM="dumb")


def on_a_terminal(**environment: str) -> str:
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, DEMO], stdout=theirs, env=utf8(**environment)) as demo:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
    os.close(ours)
    assert demo.returncode == 0
    return shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how a terminal says that nobody writes to it any more
        return b""
