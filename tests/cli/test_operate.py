"""The page about a day in operation is lived through, command by command, and says what is really said."""

import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sourced.cli.program import program

PAGE = (Path(__file__).parents[2] / "docs/how-to/operate.md").read_text("utf-8")
DATABASE = "postgresql://localhost/shop"
STORING = {"dispatch", "skip", "stop", "start", "rebuild", "restore"}


def spoken() -> Iterator[tuple[str, list[str]]]:
    """Each command with the lines that the page shows of its answer."""
    for block in re.findall(r"```console\n(.+?)```", PAGE, re.DOTALL):
        for turn in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *answer = turn.splitlines()
            yield command, [line for line in answer if line]


def test_a_day_in_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str):
    (code,) = re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL)
    (tmp_path / "shop.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    monkeypatch.delenv("COLUMNS", raising=False)
    told, working = 0, False
    for command, answer in spoken():
        words = shlex.split(command.replace(DATABASE, postgres_url))
        if words[0] == "export":
            monkeypatch.setenv(*words[1].split("=", 1))
            continue
        with monkeypatch.context() as here:
            while "=" in words[0]:
                here.setenv(*words.pop(0).split("=", 1))
            if words[1] == "worker":
                working = True  # from now on; what it says itself is told elsewhere
                continue
            compare(command, answer, run(words[1:]))
            if working and words[1] in STORING and "--dry-run" not in words:
                work()
        told += 1
    assert told > 25


def run(words: list[str]) -> list[str]:
    sys.modules.pop("shop", None)  # every command is a process of its own
    result = CliRunner().invoke(program, words, catch_exceptions=False)
    assert result.exit_code in (0, 1), result.output
    return [line for line in result.output.splitlines() if line]


def work() -> None:
    """What workers have done by the time that the next command is said."""
    sys.modules.pop("shop", None)
    import shop  # type: ignore[import-not-found]

    shop.app.drain()
    shop.app.close()


def compare(command: str, shown: list[str], said: list[str]) -> None:
    """`…` is any text; how wide a column is depends on it."""
    pattern, found = re.escape("\n".join(shown)).replace("…", ".*"), "\n".join(said)
    agreed = re.fullmatch(re.sub(r"(\\ )+", " +", pattern), found)
    assert agreed, f"$ {command}\n{found}\n-- expected\n" + "\n".join(shown)
