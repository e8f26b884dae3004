"""OpenTelemetry: a span for whatever is stored or handled, in one trace from the first command to its last effect.

The trace goes with the messages, as `traceparent` in their metadata, so it follows causation into other processes.
Names and attributes are those of the semantic conventions for messaging, where these have a word for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

try:
    from opentelemetry.context import Context
    from opentelemetry.trace import (
        Link,
        Span,
        SpanContext,
        SpanKind,
        Status,
        StatusCode,
        Tracer,
        TracerProvider,
        get_current_span,
        get_tracer,
    )
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ModuleNotFoundError as missing:
    if missing.name is None or missing.name.partition(".")[0] != "opentelemetry":
        raise
    needed = "sourced.integrations.opentelemetry needs more than the core: pip install 'sourced-py[otel]'"
    raise ModuleNotFoundError(needed, name=missing.name) from missing

from sourced.app import Sourced
from sourced.envelope import Message
from sourced.errors import Rejection
from sourced.telemetry import Doing

_propagator = TraceContextTextMapPropagator()


def trace(app: Sourced, provider: TracerProvider | None = None) -> Callable[[], None]:
    """Makes spans of what the app does, with the given provider or the global one; the answer ends that."""
    tracer = get_tracer("sourced", tracer_provider=provider)
    return app.telemetry.wrap(lambda doing: _spanning(tracer, doing))


@contextmanager
def _spanning(tracer: Tracer, doing: Doing) -> Iterator[Mapping[str, Any]]:
    context, links = _origin(doing)
    kind = SpanKind.CONSUMER if doing.name == "handle" else SpanKind.PRODUCER
    with tracer.start_as_current_span(
        f"{doing.name} {_types(doing)}", context, kind, _attributes(doing), links,
        record_exception=False, set_status_on_exception=False,
    ) as span:  # fmt: skip
        carried: dict[str, str] = {}
        _propagator.inject(carried)
        try:
            yield carried
        except Exception as error:
            _failed(span, error)
            raise


def _origin(doing: Doing) -> tuple[Context | None, list[Link]]:
    """What a span belongs to, and what it only points at.

    A message that is handled goes on with its own trace. What is stored belongs to whatever is under way here, and so
    does a replay, as the message's trace has long ended, and a batch of messages from several places.
    """
    told = {span.span_id: (context, span) for context, span in map(_told, doing.messages) if span.is_valid}
    links = [Link(span) for _, span in told.values()]
    if len(told) != 1 or doing.replaying:
        return None, links
    ((context, _),) = told.values()
    if doing.name == "handle":
        return context, links
    return (None, links) if get_current_span().get_span_context().is_valid else (context, [])


def _told(message: Message[Any]) -> tuple[Context, SpanContext]:
    """The trace that a message carries."""
    texts = {key: value for key, value in message.metadata.items() if isinstance(value, str)}
    context = _propagator.extract(texts, Context())
    return context, get_current_span(context).get_span_context()


def _types(doing: Doing) -> str:
    """The messages' type, as the name of a span: there are few of them, while there are many streams."""
    types = dict.fromkeys(message.type for message in doing.messages)
    return next(iter(types)) if len(types) == 1 else "messages"


def _attributes(doing: Doing) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "messaging.system": "sourced",
        "messaging.operation.name": doing.name,
        "messaging.operation.type": "process" if doing.name == "handle" else "send",
    }
    if doing.messages:
        attributes["messaging.destination.name"] = doing.messages[0].stream
    if len(doing.messages) == 1:
        attributes |= _of_message(doing.messages[0])
    else:
        attributes["messaging.batch.message_count"] = len(doing.messages)
    if doing.name == "handle":
        attributes["messaging.consumer.group.name"] = doing.group
        attributes["sourced.attempt"] = doing.attempts
        attributes["sourced.replaying"] = doing.replaying
    return attributes


def _of_message(message: Message[Any]) -> dict[str, Any]:
    place = {"sourced.message.seq": message.seq} if message.seq else {}
    return {
        "messaging.message.id": message.id,
        "messaging.message.conversation_id": message.correlation_id,
        "sourced.message.type": message.type,
        "sourced.message.causation_id": message.causation_id,
        **place,
    }


def _failed(span: Span, error: Exception) -> None:
    """A rejection is an answer, not a failure: the span says which one, and is fine."""
    if isinstance(error, Rejection):
        span.set_attribute("sourced.rejection", type(error).__qualname__)
        return
    span.set_attribute("error.type", f"{type(error).__module__}.{type(error).__qualname__}")
    span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, str(error)))
