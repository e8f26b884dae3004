"""What nobody may see: payloads as the app's mask leaves them, and of exceptions only their class and place."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec
from msgspec.structs import replace

from sourced.actor import Actor
from sourced.audit import ParkedRetried, ParkedSkipped
from sourced.dashboard.difference import plain
from sourced.doctor import GroupInfo
from sourced.envelope import Message
from sourced.errors import Conflict, DefinitionError, Fenced, NotKnown, RebuildStopped, SourcedError, Unavailable
from sourced.messages import Payload, Rejected, Unknown
from sourced.store import Group, Scheduled, Straggler
from sourced.workflow.events import ChildFailed, Failed, StepFailed

Mask: TypeAlias = Callable[["Message[Any] | Actor[Any]", Any], Any]
"""`(message, its payload or metadata)` or `(actor, its state)`, as plain values: what of it is shown."""

MaskErrors: TypeAlias = Callable[[str], str]
"""What an exception said, or its traceback: what of it is shown."""

MASKED = "(masked)"
NAMES_ONLY = (
    NotKnown,
    Conflict,
    DefinitionError,
    Fenced,
    Unavailable,
)  # they speak of names and places, and no payload
KIND = re.compile(r"([A-Za-z_]\w*): ")


class Veil:
    """Everything that is shown of payloads, states and exceptions comes through here."""

    def __init__(self, mask: Mask | None = None, errors: MaskErrors | None = None) -> None:
        self.mask = mask
        self._errors = errors
        self._open = mask is None and errors is None

    # -- what the app keeps

    def payload(self, message: Message[Any]) -> Any:
        shown = self._written(message.payload)
        return shown if self.mask is None else self.mask(message, shown)

    def metadata(self, message: Message[Any]) -> Any:
        return message.metadata if self.mask is None else self.mask(message, dict(message.metadata))

    def state(self, actor: Actor[Any], state: Any) -> Any:
        return plain(state) if self.mask is None else self.mask(actor, plain(state))

    def _written(self, payload: Payload) -> Any:
        """As plain values. What Sourced itself wrote down of exceptions is shown like any other."""
        shown = msgspec.to_builtins(payload, enc_hook=repr)
        if self._open:
            return shown
        match payload:
            case Rejected():
                details = [self.text(str(each)) for each in payload.details]
                return shown | {"message": self.text(payload.message), "details": details}
            case StepFailed() | Failed() | ChildFailed():
                return shown | {"error": self._trouble(shown["error"])}
            case Unknown(data={"error": {"type": str(), "message": str()} as trouble}):  # of a workflow that is gone
                return shown | {"data": shown["data"] | {"error": self._trouble(trouble)}}
            case ParkedSkipped():
                return shown | {"error": self.error(payload.error)}
            case ParkedRetried():
                return shown | {"streams": [each | {"error": self.error(each["error"])} for each in shown["streams"]]}
        return shown

    def _trouble(self, trouble: dict[str, Any]) -> dict[str, Any]:
        shown = trouble | {"message": self.text(trouble["message"])}
        if trouble.get("details"):
            shown["details"] = [self.text(str(each)) for each in trouble["details"]]
        if trouble.get("traceback"):
            shown["traceback"] = self.trace(trouble["traceback"])
        return shown

    # -- what exceptions say

    def text(self, said: str) -> str:
        """What somebody said because of an exception; perhaps in its words."""
        return self._said(said, lambda _: MASKED)

    def error(self, said: Any) -> str:
        """An exception as it was written down: its class, and what it says."""
        return self._said(str(said), class_only)

    def trace(self, said: str) -> str:
        return self._said(said, places_only)

    def raised(self, error: BaseException) -> str:
        """One that was raised here and now; what Sourced raises on purpose is a sentence."""
        kind = type(error).__name__
        if isinstance(error, SourcedError) and (self._open or isinstance(error, NAMES_ONLY)):
            return str(error)
        if isinstance(error, RebuildStopped) and self._errors is None:
            return f"{kind} at {error.stream!r} seq {error.seq} ({error.type}): {MASKED}"
        return self.error(f"{kind}: {error}")

    def _said(self, said: str, default: MaskErrors) -> str:
        return said if self._open or not said else (self._errors or default)(said)

    # -- what waits

    def straggler(self, row: Straggler) -> Straggler:
        return replace(
            row, error=self.error(row.error), traceback=self.trace(row.traceback), reason=self.text(row.reason)
        )

    def scheduled(self, row: Scheduled) -> Scheduled:
        return replace(row, error=self.text(row.error)) if row.error else row

    def info(self, info: GroupInfo) -> GroupInfo:
        if self._open:
            return info  # thousands of streams may wait
        return replace(
            info, group=self._group(info.group), stragglers=tuple(self.straggler(row) for row in info.stragglers)
        )

    def _group(self, group: Group) -> Group:
        """What a person gave as the reason is told; what the error policy says may be what the exception said."""
        reason = group.reason if group.stopped_by else self.text(group.reason)
        return replace(group, reason=reason, error=self.error(group.error))


def class_only(said: str) -> str:
    """PaymentRefused: (masked)"""
    kind = KIND.match(said)
    return f"{kind[1]}: {MASKED}" if kind else MASKED


HEADER = re.compile(r"(Exception Group )?Traceback \(most recent call last\):$|-+ \d+ -+$")
PLACE = re.compile(r'  File "[^"]*", line \d+, in \S+$')
BETWEEN = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
MARGIN = re.compile(r"\s*(\| |\+-\+(?=-)|\+(?=-)|\+ )")  # of exceptions in a group
RAISED = re.compile(r"[A-Za-z_][\w.]*(<locals>[\w.]+)*(?=:|$)")


def places_only(trace: str) -> str:
    """Files, lines and classes; neither messages nor source lines, which may quote what is handled."""
    shown, within = list[str](), True
    for line in trace.splitlines():
        margin = MARGIN.match(line)
        edge, rest = (margin[0], line[margin.end() :]) if margin else ("", line)
        if HEADER.match(rest):
            within = True
            shown.append(line)
        elif within and PLACE.match(rest):
            shown.append(line)
        elif within and rest and not rest[0].isspace():
            kind = RAISED.match(rest)
            shown.append(f"{edge}{kind[0]}: {MASKED}" if kind else f"{edge}{MASKED}")
            within = False
        elif rest in BETWEEN:
            shown += [edge.rstrip(), line, edge.rstrip()]
    return "\n".join(shown)
