"""`sourced rebuild` and `sourced restore`, on a real app in a file of its own, in one process and in several."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sourced.cli.program import program

APP = """
from sourced import Event, Projector, Sourced, View, evolve

class Sold(Event, type="sold"):
    price: int

class Total(View):
    total: int = 0

class Totals(Projector[Total], group="totals"):
    factor = 1

    @evolve
    def sold(self, row: Total, event: Sold):
        row.total += event.price * self.factor

app = Sourced("sqlite:///shop.db", batch=20)
app.register(Totals)
"""
FILL = (
    "import shop; [shop.app.append(f's{n % 9}', shop.Sold(n)) for n in range(99)]; shop.app.drain(); shop.app.close()"
)
SUM = "import shop; print(sum(row.total for row in shop.app.views(shop.Totals).all().values()))"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "shop.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    subprocess.run([sys.executable, "-c", FILL], check=True)

    def end() -> None:
        """Every command is a process of its own."""
        if module := sys.modules.pop("shop", None):
            module.app.close()

    def sourced(*words: object, code: int = 0, given: str = "") -> str:
        end()
        result = CliRunner().invoke(program, [*map(str, words)], input=given, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result.output

    yield sourced
    end()


def total() -> int:
    return int(subprocess.run([sys.executable, "-c", SUM], check=True, stdout=subprocess.PIPE).stdout)


@pytest.mark.parametrize("processes", [1, 2])
def test_rows_are_built_anew_by_the_code_as_it_is_and_brought_back(shop: Any, tmp_path: Path, processes: int):
    # A length of its own: what Python has compiled is stale by the second and by the length of the source.
    (tmp_path / "shop.py").write_text(APP.replace("factor = 1", "factor = 10"))
    assert (
        shop("rebuild", "shop:app", "totals", "--dry-run") == "would build the rows of totals anew from 99 messages\n"
    )
    assert total() == sum(range(99))
    output = shop("rebuild", "shop:app", "totals", "--processes", processes, "--by", "vera", "-r", "new prices")
    assert output.startswith("built the rows of totals anew from 99 messages in ")
    assert total() == 10 * sum(range(99))
    would = "would bring back the rows of totals from before its last rebuild\n"
    assert shop("restore", "shop:app", "totals", "--dry-run") == would
    assert shop("restore", "shop:app", "totals", given="n\n", code=1).startswith(would)
    assert shop("restore", "shop:app", "totals", "--yes").startswith(f"{would}brought back")
    assert total() == sum(range(99))
    told = shop("show", "shop:app", "sourced.operations")
    assert "sourced.group_rebuilt" in told
    assert '"by":"vera","reason":"new prices"' in told
    assert "sourced.group_restored" in told


def test_what_cannot_be_rebuilt_or_restored_is_told_in_a_sentence(shop: Any):
    assert "NotKnown: no rows from before are kept for 'totals'" in shop("restore", "shop:app", "totals", code=1)
    assert "UnknownGroup: no group named 'sales'" in shop("rebuild", "shop:app", "sales", code=1)
