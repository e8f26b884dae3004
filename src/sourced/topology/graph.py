"""An app as a graph: messages, and who makes and answers them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import msgspec

Kind: TypeAlias = Literal["command", "event", "automation", "read model", "workflow"]

KINDS: tuple[Kind, ...] = ("command", "event", "automation", "read model", "workflow")


class Node(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message, by the name it is stored under, or one who answers messages."""

    id: str
    kind: Kind
    name: str
    group: str = ""  # whose it is
    about: str = ""  # the first line of its docstring
    schema: dict[str, Any] = {}


class Lint(msgspec.Struct, frozen=True):
    """Something that may have been forgotten."""

    about: str
    says: str


class Graph(msgspec.Struct, frozen=True):
    """What flows where: `edges` lead from a message to who answers it, and from there to what it makes."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]
    lints: tuple[Lint, ...] = ()

    def node(self, id: str) -> Node:
        return next(node for node in self.nodes if node.id == id)

    def of(self, kind: Kind) -> list[Node]:
        return [node for node in self.nodes if node.kind == kind]

    def consumes(self, id: str) -> list[str]:
        """What leads to a node."""
        return [source for source, target in self.edges if target == id]

    def produces(self, id: str) -> list[str]:
        """What it leads to."""
        return [target for source, target in self.edges if source == id]

    def groups(self) -> list[str]:
        return list(dict.fromkeys(node.group for node in self.nodes if node.group))

    def within(self, group: str, kinds: Sequence[Kind] = KINDS) -> list[Node]:
        return [node for node in self.nodes if node.group == group and node.kind in kinds]
