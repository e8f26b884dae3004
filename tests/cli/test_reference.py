"""The page about the command line and the command line say the same: every command, option and field, and no other."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from sourced.cli.program import program
from tests.cli.app import APP
from tests.cli.test_workflows import APP as TRIPS

PAGE = (Path(__file__).parents[2] / "docs/reference/cli.md").read_text("utf-8")
SECTIONS: dict[str, str] = dict(re.findall(r"^### (.+)\n((?:(?!^##).*\n)*)", PAGE, re.MULTILINE))
AUDITED = {"--by", "--reason", "-r", "--dry-run"}


def commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


COMMANDS = dict(commands(typer.main.get_command(program)))


def options(command: Any) -> set[str]:
    shown = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    return {name for each in shown for name in (*each.opts, *each.secondary_opts)}


def test_every_command_is_on_the_page_and_none_is_invented():
    assert sorted(SECTIONS) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_takes_what_the_page_says(name: str):
    synopsis, *rest = SECTIONS[name].strip().splitlines()
    arguments = [
        each.name.upper() + "…" * (each.nargs == -1)
        for each in COMMANDS[name].params
        if each.param_type_name == "argument"
    ]
    assert synopsis == " ".join(["`sourced", name, *arguments]) + "`"
    told = [line for line in rest if line.startswith(("| `", "And `", "Options: `"))]
    cells = " ".join(line.split("|")[1] if line.startswith("|") else line for line in told)
    assert set(re.findall(r"`(--?[a-z][a-z-]*)`", cells)) == options(COMMANDS[name])


def test_whatever_a_person_does_is_told_with_who_and_why_and_can_be_tried_first():
    acting = PAGE.partition("\n## Act\n")[2].partition("\n## Move\n")[0]
    done = set(re.findall(r"^### (.+)$", acting, re.MULTILINE)) - {
        "dispatch",
        "execute",
        "workflows signal",
        "workflows start",
    }
    assert {name for name in COMMANDS if options(COMMANDS[name]) >= AUDITED} == done


def test_every_list_comes_as_json_too():
    looking = PAGE.partition("\n## Look\n")[2].partition("\n## Act\n")[0]
    lists = set(re.findall(r"^### (.+)$", looking, re.MULTILINE)) - {"topology"}
    assert {name for name in COMMANDS if "--json" in options(COMMANDS[name])} == lists | {"workflows start"}


# -- what the JSON looks like


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Something of everything that can be listed."""
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "trips.py").write_text(TRIPS)
    monkeypatch.chdir(tmp_path)
    script = """if True:
        import shop, trips
        from datetime import UTC, datetime, timedelta
        from sourced.store import Worker
        for n in (1, 13):
            shop.app.dispatch(shop.Order(n), to="o1")
        shop.app.drain()
        shop.app.dispatch(shop.Order(2), to="o1", after=3600)
        shop.app.dispatch(shop.Order(3), to="o1")
        now = datetime.now(UTC)
        shop.app.store.transact(shop.app.store.beat(Worker("here:1:a", "here", 1, 2, now, now + timedelta(days=1))))
        run = trips.app.start(trips.Book, "Rome").id
        trips.app.drain()
        print(run)"""
    done = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


CALLS = {
    "streams": "shop:app", "show": "shop:app parcel-13", "groups": "shop:app", "workers": "shop:app",
    "parked": "shop:app", "scheduled": "shop:app", "doctor": "shop:app", "workflows show": "trips:app RUN",
}  # fmt: skip


def test_json_has_the_fields_that_the_page_shows(busy: str):
    for name, words in CALLS.items():
        (block,) = re.findall(r"```text\n(.+?)```", SECTIONS[name], re.DOTALL)
        for module in ("shop", "trips"):
            sys.modules.pop(module, None)
        result = CliRunner().invoke(
            program, [*name.split(), *words.replace("RUN", busy).split(), "--json"], catch_exceptions=False
        )
        assert shape(json.loads(block)) == shape(json.loads(result.stdout)), name
    assert set(CALLS) == {name for name in SECTIONS if "```text" in SECTIONS[name]}


def shape(found: Any) -> Any:
    """Which fields there are, as deep as they are Sourced's own."""
    if isinstance(found, list):
        return shape(found[0]) if found else "a list"
    deep = ("history", "steps")
    return {name: shape(value) if name in deep else ... for name, value in found.items()} if found else found
