"""Type checkers read our users' programs: those in `good` pass and run, those in `bad` are refused at their marks."""

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAMS = Path(__file__).parent / "typing"
MARK = re.compile(r"# E: (both|mypy|pyright)$")

Line = tuple[str, int]


def mypy() -> dict[Line, str]:
    config, cache = f"--config-file={PROGRAMS / 'mypy.ini'}", f"--cache-dir={os.devnull}"
    found = map(
        json.loads, said("mypy", config, cache, "--output=json", PROGRAMS / "good", PROGRAMS / "bad").split("\n")
    )
    return {line(each["file"], each["line"]): each["message"] for each in found if each["severity"] == "error"}


def pyright() -> dict[Line, str]:
    found = json.loads(said("pyright", "--project", PROGRAMS, "--pythonpath", sys.executable, "--outputjson"))
    return {
        line(each["file"], each["range"]["start"]["line"] + 1): each["message"]
        for each in found["generalDiagnostics"]
        if each["severity"] != "information"
    }


def said(checker: str, *arguments: str | Path) -> str:
    command = [sys.executable, "-m", checker, *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert result.returncode == 1, f"{checker} did not come to read the programs: {result.stdout}"
    return result.stdout.strip()


def line(file: str, number: int) -> Line:
    return (ROOT / file).relative_to(PROGRAMS).as_posix(), number


def marked(checker: str) -> set[Line]:
    return {
        line(str(file), number)
        for file in PROGRAMS.glob("bad/*.py")
        for number, text in enumerate(file.read_text("utf-8").splitlines(), 1)
        if (mark := MARK.search(text)) and mark[1] in ("both", checker)
    }


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_a_type_checker_refuses_exactly_the_marked_lines(checker: Callable[[], dict[Line, str]]):
    found, expected = checker(), marked(checker.__name__)
    surprises = [(*at, f"is refused: {found[at].splitlines()[0]}") for at in found.keys() - expected]
    surprises += [(*at, "is not refused") for at in expected - found.keys()]
    assert not surprises, "\n".join(f"{file}:{number} {what}" for file, number, what in sorted(surprises))


@pytest.mark.parametrize("program", sorted(PROGRAMS.glob("good/*.py")), ids=lambda program: program.stem)
def test_a_program_that_checks_also_runs(program: Path):
    runpy.run_path(str(program))
