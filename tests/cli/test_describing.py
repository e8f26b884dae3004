"""`sourced topology` and `sourced docs`, on an app in a file of its own."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sourced.cli.program import program

APP = """
from sourced import Sourced
from sourced.testing.shop import Cart, Sales, Stock

app = Sourced()
app.register(Cart, Stock, Sales)
"""
PAGE = "# Shop\n\n<!-- sourced:topology -->\n<!-- /sourced:topology -->\n"


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page in a folder with `described_shop.py`, which is where the person sits."""
    (tmp_path / "described_shop.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    page = tmp_path / "README.md"
    page.write_text(PAGE)
    return page


def sourced(*arguments: str) -> Any:
    return CliRunner().invoke(program, arguments)


def test_topology_in_every_form(page: Path):
    assert "decides shop.add_item" in sourced("topology", "described_shop:app").output
    assert json.loads(sourced("topology", "described_shop:app", "--format", "json").output)["lints"] == []
    assert sourced("topology", "described_shop:app", "--format", "mermaid").output.startswith("flowchart LR\n")
    assert sourced("topology", "described_shop:app", "--format", "svg").output.startswith("<svg ")


def test_docs_writes_a_page_and_says_whether_it_is_out_of_date(page: Path):
    stale = sourced("docs", "described_shop:app", "README.md", "--check")
    assert (stale.exit_code, page.read_text()) == (1, PAGE)
    assert "README.md is out of date" in stale.output
    written = sourced("docs", "described_shop:app", "README.md")
    assert (written.exit_code, written.output) == (0, "README.md was written\n")
    assert "n1 --> n2" in page.read_text()
    fresh = sourced("docs", "described_shop:app", "README.md", "--check")
    assert (fresh.exit_code, fresh.output) == (0, "up to date\n")


def test_a_page_without_markers_is_refused_in_a_sentence(page: Path):
    page.write_text("# Shop\n")
    refused = sourced("docs", "described_shop:app", "README.md")
    assert refused.exit_code == 1
    assert "expected markers such as <!-- sourced:topology -->" in refused.stderr
