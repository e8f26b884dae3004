"""The graph in a Markdown file, between markers, so that it can be written anew whenever the code has changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from sourced.errors import DefinitionError
from sourced.topology.drawn import Topology
from sourced.topology.graph import Node


def written_into(page: str, topology: Topology, name: str = "the page") -> str:
    """The page with every marked section as it should be; the rest of it is left as it is."""
    found = set(re.findall(r"<!-- sourced:(\w+) -->", page))
    unknown = found - SECTIONS.keys()
    if unknown or not found:
        what = f"sourced:{unknown.pop()}" if unknown else "none"
        markers = " or ".join(f"<!-- sourced:{each} --> … <!-- /sourced:{each} -->" for each in SECTIONS)
        raise DefinitionError(f"{name}: expected markers such as {markers}, found {what}")
    for section, content in SECTIONS.items():
        if section in found:
            page = _filled(page, section, "\n".join(content(topology)).strip(), name)
    return page


def _filled(page: str, section: str, content: str, name: str) -> str:
    begin, end = f"<!-- sourced:{section} -->", f"<!-- /sourced:{section} -->"
    before, _, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not ended or begin in after:
        raise DefinitionError(f"{name}: expected {begin} once, and {end} after it")
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


def _topology(topology: Topology) -> Iterator[str]:
    yield "```mermaid"
    yield topology.as_mermaid().rstrip()
    yield "```"
    yield from (f"\n> `{lint.about}`: {lint.says}" for lint in topology.lints)


def _messages(topology: Topology) -> Iterator[str]:
    yield "| command | fields | decided by | makes |"
    yield "|---|---|---|---|"
    for node in topology.of("command"):
        yield _row(node, _code([node.group] if node.group else []), _code(topology.produces(node.id)))
    yield ""
    yield "| event | fields | made by | answered by |"
    yield "|---|---|---|---|"
    for node in topology.of("event"):
        yield _row(node, _code(topology.consumes(node.id)), _code(topology.produces(node.id)))


def _schemas(topology: Topology) -> Iterator[str]:
    schemas = {node.id: node.schema for node in (*topology.of("command"), *topology.of("event")) if node.schema}
    yield "```json"
    yield msgspec.json.format(msgspec.json.encode(schemas), indent=2).decode()
    yield "```"


def _row(node: Node, *cells: str) -> str:
    name = f"`{node.id}`" + (f"<br>{node.about}" if node.about else "")
    return f"| {name} | {_fields(node.schema)} | {' | '.join(cells)} |".replace("  ", " ")


def _code(ids: list[str]) -> str:
    return ", ".join(f"`{id}`" for id in ids)


def _fields(schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    fields = []
    for name, field in schema.get("properties", {}).items():
        default = f" = {msgspec.json.encode(field['default']).decode()}" if "default" in field else ""
        optional = "" if name in required or default else " (optional)"
        fields.append(f"`{name}: {kind_of(field)}{default}`{optional}".replace("|", r"\|"))
    return ", ".join(fields)


def kind_of(schema: dict[str, Any]) -> str:
    """A field's type in a word or two."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(kind_of(each) for each in schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(msgspec.json.encode(each).decode() for each in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {kind_of(schema.get('items') or {})}"
    if isinstance(kind, list):
        return " | ".join(kind)
    return str(schema.get("format", kind)) if kind == "string" else str(kind)


SECTIONS: dict[str, Callable[[Topology], Iterator[str]]] = {
    "topology": _topology,
    "messages": _messages,
    "schemas": _schemas,
}
