"""The house stands: imports point down its floors, the core needs only msgspec, and the front door is complete."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from inspect import ismodule
from pathlib import Path

import pytest

import sourced

ROOT = Path(__file__).parent.parent
FLOORS = {
    "ground": "errors ids clock ops forks traces purity",
    "domain": "structs messages audit envelope codec lines snapshots view fold evolving actions annotations handlers "
    "handling actor projector reactor workflow policy",
    "ports": "store transactions view_store terms notifier telemetry",
    "adapters": "stores notifiers",
    "runtime": "runtime",
    "façade": "app archive client context doctor loaded operations reading storing subscription topology unit verbs "
    "views workflows working",
    "edges": "__main__ cli dashboard demo web testing integrations",
}
HEIGHT = {room: height for height, rooms in enumerate(FLOORS.values()) for room in rooms.split()}
ADAPTERS, RUNTIME, FACADE = HEIGHT["stores"], HEIGHT["runtime"], HEIGHT["app"]


def test_imports_point_only_downward():
    """Inside functions import only `app`, which chooses a store by URL, and `cli`: neither must need every extra."""
    files = {".".join(file.relative_to(ROOT / "src").with_suffix("").parts): file for file in ROOT.glob("src/**/*.py")}
    homeless = {module.split(".")[1] for module in files} - HEIGHT.keys() - {"__init__"}
    assert files
    assert not homeless, f"on no floor: {sorted(homeless)}; add them to FLOORS in tests/test_house.py"
    wrong = [
        f"{module}:{line} imports {name}{' inside a function' * lazy}"
        for module, file in files.items()
        for line, name, lazy in own_imports(file)
        if not fits(module, name, lazy)
    ]
    assert not wrong, "\n".join(wrong)


def own_imports(file: Path) -> Iterator[tuple[int, str, bool]]:
    tree = ast.parse(file.read_text("utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {node for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):  # all absolute: ruff refuses the others
            origin = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            names = [origin + alias.name for alias in node.names]
            yield from ((node.lineno, name, node in inside) for name in names if name.split(".")[0] == "sourced")


def fits(module: str, target: str, lazy: bool) -> bool:
    """Down or level, never from the runtime to an adapter; adapters share only what their room calls `_name`."""
    (room, shelf), (other, neighbour) = ((*name.split("."), "", "")[1:3] for name in (module, target))
    here, there = HEIGHT.get(room, FACADE), HEIGHT.get(other, FACADE)
    if here == there == ADAPTERS and (room, shelf) != (other, neighbour):
        return room == other and neighbour.startswith("_")
    return there <= here and (here, there) != (RUNTIME, ADAPTERS) and (room in ("app", "cli") or not lazy)


def test_importing_sourced_needs_nothing_but_msgspec_and_typing_extensions():
    here = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r})"  # and not what happens to be installed
    script = f"{here}; before = set(sys.modules); import sourced; print(*(set(sys.modules) - before))"
    printed = subprocess.run([sys.executable, "-I", "-c", script], check=True, stdout=subprocess.PIPE, text=True).stdout
    foreign = {name.partition(".")[0] for name in printed.split()} - sys.stdlib_module_names
    assert not foreign - {"sourced", "msgspec", "typing_extensions"}


TAKE_TIME = (
    "tests/facts.py",  # looks until it is so, for all the others
    "tests/chaos/",  # what goes wrong there does so at any moment, and meets reactions that take long
    "tests/workflows/test_listing.py",  # has a workflow that awaits what it may not, and is parked
    "tests/workflows/test_run.py",  # the same
)


def test_no_test_lets_time_pass():
    """It waits for a signal, has `tests.facts` look for a fact, or turns the clock: a pause is too long or short.

    The few who may are named above, each with its reason.
    """
    pauses = [
        f"{name}:{line} pauses"
        for file in ROOT.glob("tests/**/*.py")
        if not (name := file.relative_to(ROOT).as_posix()).startswith(TAKE_TIME)
        for line in pauses_in(ast.parse(file.read_text("utf-8")))
    ]
    assert not pauses, "\n".join(pauses)


def pauses_in(tree: ast.Module) -> Iterator[int]:
    """`sleep(…)` of anybody but a workflow, giving way with `sleep(0)` excepted, and its twin, `Event().wait(…)`."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    for call in calls:
        what, how_long = ast.unparse(call.func), ast.unparse(call.args[0])
        if re.fullmatch(r"((asyncio|time)\.)?sleep|(\w+\.)?Event\(\)\.wait", what) and how_long != "0":
            yield call.lineno


@pytest.mark.parametrize(
    "pause", ["asyncio.sleep(0.1)", "time.sleep(n)", "sleep(1)", "threading.Event().wait(0.1)", "Event().wait(1)"]
)
def test_a_pause_is_found(pause: str):
    assert list(pauses_in(ast.parse(f"async def test(self):\n    {pause}\n    await asyncio.sleep(0)"))) == [2]


def test_all_is_every_public_name():
    public = [name for name in dir(sourced) if not name.startswith("_") and not ismodule(getattr(sourced, name))]
    assert sorted(sourced.__all__) == public


def test_contributing_draws_these_floors():
    picture = re.findall(r"^\d  (\S+) +(\S+(?: \S+)*)", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE)
    assert {floor: re.sub(r"/\*?", "", rooms) for floor, rooms in reversed(picture)} == FLOORS
