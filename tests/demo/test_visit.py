"""`sourced demo --visit`: what `make demo` does where nobody looks at a browser."""

import subprocess
import sys

from tests.facts import PATIENCE


def test_a_visit_tells_what_people_see():
    told = subprocess.run(
        [sys.executable, "-m", "sourced", "demo", "--visit"],
        capture_output=True,
        text=True,
        check=True,
        timeout=3 * PATIENCE,
    )
    lines = told.stdout.splitlines()
    assert "how that came about: todos.toggle_item → todos.item_done" in lines
    assert lines[-1] == "and the home page says 1/2 done, by ann, bob"
    assert told.stderr == ""
