"""A unit: reactors that answer a command together, in one transaction, here and now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sourced.envelope import Message, To
from sourced.errors import DefinitionError
from sourced.messages import Payload
from sourced.reactor import Reactor
from sourced.runtime import cascade
from sourced.runtime.cascade import Cascade
from sourced.runtime.programs import Program
from sourced.verbs import Awaiting, Blocking, Part, verb
from sourced.workflow.workflow import Workflow


class UnitVerbs(Part):
    """Some of an app's reactors; it keeps nothing between uses."""

    def __init__(self, client: Any, reactors: Sequence[str | type[Reactor] | Reactor], most: int, keep: bool) -> None:
        super().__init__(client)
        if not reactors:
            raise DefinitionError("unit: expected the reactors that answer each other, one by one, found none")
        for reactor in reactors:
            if isinstance(found := self._engine.router.group(reactor), Workflow):
                raise DefinitionError(
                    f"unit: {found.group} is a workflow, and what its steps do is not taken back with a transaction; "
                    f"leave it out, and the workers go on with its runs"
                )
        if most < 1:
            raise DefinitionError(f"unit(most=…): expected 1 or more, found {most}")
        self._reactors = tuple(self._engine.router.group(reactor) for reactor in reactors)
        self._most = most
        self._keep = keep

    @verb
    def execute(
        self, message: Payload | Message[Any], *, to: To | None = None, expected_seq: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Program[Cascade]:  # fmt: skip
        """Stores a command, or an event, with everything it sets off among these reactors, or nothing at all.

        What no one of them handles is stored for the workers. A `Rejection`, anybody's, and every other error reach the
        caller. On a conflict all of it is done anew, a few times; `expected_seq` pins the stream's seq instead.
        """
        source = self._client._message(message, to, metadata)
        return (
            yield from cascade.execute(
                self._engine, source, self._reactors,
                most=self._most, keep_commands=self._keep, expected_seq=expected_seq,
            )
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<unit of {', '.join(reactor.group for reactor in self._reactors)}>"


class Unit(UnitVerbs, Blocking):
    """What `app.unit` gives you."""


class AsyncUnit(UnitVerbs, Awaiting):
    """What `app.aio.unit` gives you."""
