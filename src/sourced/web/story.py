"""A story as a tree: every message below the one that caused it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sourced import Message


@dataclass
class Node:
    message: Message[Any]
    caused: list[Node] = field(default_factory=list)


def tree(story: Sequence[Message[Any]]) -> list[Node]:
    """The roots; one whose cause is not in the story is a root, too, so that nothing is left out."""
    nodes = {message.id: Node(message) for message in story}
    roots = []
    for node in nodes.values():
        cause = nodes.get(node.message.causation_id)
        if cause is None or cause is node:
            roots.append(node)
        else:
            cause.caused.append(node)
    return roots
