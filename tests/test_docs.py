"""Every Python snippet of README.md and docs/ runs, and every result it shows is true.

A page is one module and its snippets run in order; `expression  # → value` shows a repr (a long one goes on in the
comment lines below it, words may follow after `: `), and a block opened with `python raises=CartClosed` ends in that
error, where an arrow shows `CartClosed: its message`. There is no way to show Python that is not run.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from types import CodeType, ModuleType
from typing import Any, NamedTuple

import pytest

import sourced.testing
from sourced import Sourced, errors

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
NOT_PYTHON = {"console", "text"}
ARROW = "# →"


class Untrue(AssertionError):
    """The page says one thing and the code does another."""


class Snippet(NamedTuple):
    line: int  # of its first line of code, from 0
    code: str
    raises: str | None


class Result(NamedTuple):
    line: int
    text: str


# -- the pages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_the_page_shows_is_true(page: Path):
    run_page(page.read_text("utf-8"), name=str(page.relative_to(ROOT)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_the_page_links_to_is_there(page: Path):
    text = page.read_text("utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, heading = link.partition("#")
        if "://" not in path:
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{link}: nothing is there"
            assert not heading or heading in anchors(target), f"{link}: no such heading"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


# -- the reference is whole ------------------------------------------------------------------------------------------

REFERENCE = {page.stem: page.read_text("utf-8") for page in ROOT.glob("docs/reference/*.md")}


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text("utf-8")
    needed = [*ROOT.glob("docs/*.md"), *ROOT.glob("docs/[!d]*/*.md"), ROOT / "docs/decisions/README.md"]
    missing = {str(page.relative_to(ROOT / "docs")) for page in needed} - set(re.findall(r"\]\(([^)]+)\)", index))
    assert missing == {"README.md"}


def test_every_decision_is_in_its_index():
    decisions = ROOT / "docs/decisions"
    listed = re.findall(r"^\* \[.+\]\((.+)\): ", (decisions / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(page.name for page in decisions.glob("*.md") if page.name != "README.md")


def test_every_public_name_is_in_the_reference():
    whole = "\n".join(REFERENCE.values())
    assert [name for name in (*sourced.__all__, *sourced.testing.__all__) if not re.search(rf"\b{name}\b", whole)] == []


def test_every_verb_is_in_the_table():
    app = sourced.Sourced()
    verbs = [name for name in dir(sourced.Client) if not name.startswith("_")]
    for room in ("groups", "parked", "scheduled"):
        verbs += [f"{room}.{name}" for name in dir(getattr(app, room)) if not name.startswith("_")]
    assert [name for name in verbs if f"`{name}(" not in REFERENCE["app"]] == []


def test_the_error_tree_is_the_one_in_the_code():
    tree = (errors.__doc__ or "").partition("\n\n")[2].rstrip()
    assert f"```text\n{tree}\n```" in REFERENCE["errors"]


# -- a page that lies is found out -----------------------------------------------------------------------------------


def test_a_true_page_passes():
    python = """
        class Boom(Exception): ...
        async def late(): return 3
        1 + 1  # → 2
        1 + 1  # → 2: and words about it
        list("abc")  # → ['a', 'b',
                     #    'c']
        [1]
        # → [1]
        for _ in range(2):
            len("four")  # → 4
        """
    run_page(page(python) + page("raise Boom('no')", "python raises=Boom") + page("$ make", "console"))


@pytest.mark.parametrize(
    ("python", "info"),
    [
        ("1 + 1  # → 3", "python"),
        ("1 + 1  # → 2 and more", "python"),
        ("'a'  # → a", "python"),
        ("[1, 2]\n# → [1,\n#    3]", "python"),
        ("for _ in ():\n    1  # → 1", "python"),  # never comes by
        ("def f():\n    1  # → 1", "python"),
        ("x = 1  # → 1", "python"),  # nothing is shown there
        ("# → 1", "python"),
        ("len('')  # 0", "python"),  # looks like a result and would not be checked
        ("x = 1\nx", "python"),  # shows a value and says nothing of it
        ("1 / 0", "python"),
        ("nonsense(", "python"),
        ("1", "python raises=ValueError"),  # does not raise
        ("1 / 0", "python raises=ValueError"),  # raises something else
        ("1 / 0\nint('x')", "python raises=ZeroDivisionError"),  # raises too early
        ("int('x')  # → ValueError: quite another message", "python raises=ValueError"),
        ("1 + 1", "python no-run"),
        ("1 + 1", "py"),
        ("1 + 1", ""),
        (">>> 1 + 1\n3", "text"),
        ("from sourced import Actor", "console"),
    ],
)
def test_a_lying_page_is_found_out(python: str, info: str):
    with pytest.raises(Untrue):
        run_page(page(python, info))


@pytest.mark.parametrize(
    "text",
    ["```python\n1 + 1  # → 2\n", "~~~python\n1 + 1\n~~~", "Look:\n\n    1 + 1\n", "<pre>1 + 1</pre>"],
)
def test_python_cannot_hide(text: str):
    with pytest.raises(Untrue):
        run_page(text)


def test_snippets_share_one_module_in_which_annotations_resolve():
    first = """
        from __future__ import annotations
        from dataclasses import dataclass
        @dataclass
        class Box:
            inside: Box | None
        """
    second = """
        from typing import get_type_hints
        get_type_hints(Box)["inside"] == Box | None  # → True
        """
    run_page(page(first) + page(second))


def page(code: str, info: str = "python") -> str:
    return f"```{info}\n{dedent(code).strip()}\n```\n"


# -- how a page is run -----------------------------------------------------------------------------------------------


def run_page(text: str, name: str = "page.md") -> None:
    module = ModuleType("page_" + re.sub(r"\W", "_", name))
    sys.modules[module.__name__] = module
    try:
        for snippet in snippets(text):
            try:
                run_snippet(snippet, module, name)
            except Untrue as lie:
                raise Untrue(f"{name}: {lie}") from lie.__cause__
    finally:
        del sys.modules[module.__name__]
        for each in vars(module).values():
            if isinstance(each, Sourced):
                each.close()  # a page is a program that goes on until its process ends


def snippets(text: str) -> Iterator[Snippet]:
    lines = iter(enumerate(text.splitlines()))
    before = ""
    for number, line in lines:
        require("~~~" not in line and "<pre" not in line, number, "code is fenced with ``` here")
        indented = not before.strip() and re.match(r" {4,}(?![-*] |\d+\. )\S", line)
        require(not indented, number, "indented code is not run; fence it")
        before = line
        if not line.lstrip().startswith("```"):
            continue
        info, block = line.strip().removeprefix("```").split(), []
        for _, inside in lines:
            if inside.strip() == "```":
                break
            block.append(inside)
        else:
            raise Untrue(f"line {number + 1}: the block never ends")
        if info and info[0] == "python":
            tag, _, raises = " ".join(info[1:]).partition("=")
            require((tag, bool(raises)) in {("", False), ("raises", True)}, number, f"no such tag: {' '.join(info)}")
            yield Snippet(number + 1, dedent("\n".join(block)), raises or None)
        else:
            require(len(info) == 1 and info[0] in NOT_PYTHON, number, f"expected python, console or text: {info}")
            hidden = any(re.match(r"\s*(>>>|import |from \w+ import)", inside) for inside in block)
            require(not hidden, number, f"Python in a {info[0]} block is not run")


def run_snippet(snippet: Snippet, module: ModuleType, name: str) -> None:
    try:
        tree = ast.parse(snippet.code)
    except SyntaxError as error:
        raise Untrue(f"line {snippet.line + (error.lineno or 1)}: {error.msg}") from error
    results = shown_results(snippet)
    seen: set[int] = set()

    def show(value: Any, line: int) -> None:
        compare(repr(value), results[line])
        seen.add(line)

    vars(module)["__show__"] = show
    last = tree.body.pop() if snippet.raises else None
    ending = results.pop(last.end_lineno or 0, None) if last else None
    watched = Showing(snippet, results).visit(tree)
    execute(watched, snippet, module, name)
    if last is not None and snippet.raises is not None:
        try:
            exec(compiled(ast.Module([last], []), snippet, name), vars(module))
        except Exception as error:
            found = type(error).__name__
            require(found == snippet.raises, snippet.line, f"expected {snippet.raises}, found {found}: {error}", error)
            if ending:
                compare(f"{found}: {error}", ending)
        else:
            raise Untrue(f"line {snippet.line + (last.end_lineno or 0)}: expected {snippet.raises}, nothing was raised")
    unseen = [result for line, result in results.items() if line not in seen]
    require(not unseen, unseen[0].line if unseen else 0, f"this result was never reached: {unseen}")


def shown_results(snippet: Snippet) -> dict[int, Result]:
    """What the snippet says it shows, by the line the statement ends in."""
    results: dict[int, Result] = {}
    going_on: int | None = None
    for token in tokenize.generate_tokens(io.StringIO(snippet.code).readline):
        if token.type == tokenize.COMMENT:
            line, alone, text = token.start[0], not token.line[: token.start[1]].strip(), token.string
            if text.startswith(ARROW):
                going_on = line - alone
                results[going_on] = Result(snippet.line + line - 1, text.removeprefix(ARROW).strip())
            elif alone and going_on is not None and text.startswith("#   "):
                results[going_on] = Result(results[going_on].line, f"{results[going_on].text} {text[1:].strip()}")
            else:
                going_on = None
                require(not is_literal(text[1:]), snippet.line + line - 1, f"write {ARROW} to have {text!r} checked")
        elif token.type not in (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            going_on = None
    return results


def is_literal(text: str) -> bool:
    try:
        ast.literal_eval(text.partition(": ")[0].strip())
    except (ValueError, SyntaxError):
        return False
    return True


class Showing(ast.NodeTransformer):
    """Has every shown result compared with what its expression is."""

    def __init__(self, snippet: Snippet, results: dict[int, Result]) -> None:
        self.snippet, self.results = snippet, results

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        line = node.end_lineno or 0
        if line not in self.results:
            silent = isinstance(node.value, ast.Call | ast.Await | ast.Yield | ast.YieldFrom | ast.Constant)
            require(silent, self.snippet.line + line - 1, f"a value is shown here; say which: {ARROW} …")
            return node
        call = ast.Call(ast.Name("__show__", ast.Load()), [node.value, ast.Constant(line)], [])
        return ast.fix_missing_locations(ast.copy_location(ast.Expr(ast.copy_location(call, node)), node))


def execute(tree: ast.Module, snippet: Snippet, module: ModuleType, name: str) -> None:
    try:
        exec(compiled(tree, snippet, name), vars(module))
    except Untrue:
        raise
    except Exception as error:
        trace, line = error.__traceback__, snippet.line
        while trace is not None:
            line = trace.tb_lineno - 1 if trace.tb_frame.f_code.co_filename == name else line
            trace = trace.tb_next
        raise Untrue(f"line {line + 1}: {type(error).__name__}: {error}") from error


def compiled(tree: ast.Module, snippet: Snippet, name: str) -> CodeType:
    return compile(ast.increment_lineno(ast.fix_missing_locations(tree), snippet.line), name, "exec")


def compare(found: str, result: Result) -> None:
    true = result.text == found or result.text.startswith(f"{found}: ")
    require(true, result.line, f"\n  shown {result.text}\n  found {found}")


def require(condition: object, line: int, otherwise: str, cause: Exception | None = None) -> None:
    if not condition:
        raise Untrue(f"line {line + 1}: {otherwise}") from cause
