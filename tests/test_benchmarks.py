"""The comparisons run: each of their rows, on tiny sizes, does all of its work on both sides."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from sourced.testing.postgres import NoPostgres, find_binaries

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(find_spec("eventsourcing") is None, reason="needs pip install -e .[bench]")


def test_the_comparison_in_memory_runs():
    assert printed("benchmarks.compare", "--quick").count("\n| ") == 14


def test_the_comparison_on_databases_runs():
    try:
        find_binaries()
    except NoPostgres as none:
        pytest.skip(str(none))
    told = printed("benchmarks.stored", "--quick")
    assert told.count("\n| ") == 36
    assert ("fsync=off" in told, "fsync=on" in told) == (True, True)  # without a disk to wait for, and with one


@pytest.mark.skipif(find_spec("dbos") is None, reason="needs pip install -e .[bench]")
def test_the_comparison_of_workflows_runs():
    try:
        find_binaries()
    except NoPostgres as none:
        pytest.skip(str(none))
    assert printed("benchmarks.flows", "--quick").count("\n| ") == 3


def test_the_comparison_of_workers_runs():
    try:
        find_binaries()
    except NoPostgres as none:
        pytest.skip(str(none))
    assert printed("benchmarks.running", "--quick").count("\n| ") == 10


def test_the_account_of_plans_runs():
    try:
        find_binaries()
    except NoPostgres as none:
        pytest.skip(str(none))
    assert printed("benchmarks.plans", "--messages", "2000", "--streams", "200").count("\n| ") == 30


def test_the_account_of_rebuilds_runs():
    try:
        find_binaries()
    except NoPostgres as none:
        pytest.skip(str(none))
    small = ("--messages", "1000", "--streams", "50", "--idle", "0.1", "--processes", "1")
    assert printed("benchmarks.rebuild", *small).count("\n| ") == 6


def printed(module: str, *arguments: str) -> str:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout
