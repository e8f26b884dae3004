"""A process of its own, `python -m tests.integrations.traced URL`: works on a shop and prints the spans it made."""

import sys
from typing import Any

import msgspec
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sourced import Sourced
from sourced.integrations.opentelemetry import trace
from sourced.testing.shop import Cart, Stock


class Seen(msgspec.Struct, frozen=True):
    """A span as the tests look at it."""

    name: str
    kind: str
    trace_id: int
    span_id: int
    parent: int | None
    links: tuple[int, ...]
    attributes: dict[str, Any]
    status: str
    events: tuple[tuple[str, str], ...]


class Tracing:
    """A provider that keeps its spans."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def spans(self) -> list[Seen]:
        """In the order in which they ended."""
        return [seen(span) for span in self.exporter.get_finished_spans()]


def seen(span: ReadableSpan) -> Seen:
    assert span.context is not None
    return Seen(
        span.name,
        span.kind.name,
        span.context.trace_id,
        span.context.span_id,
        span.parent.span_id if span.parent else None,
        tuple(link.context.span_id for link in span.links),
        dict(span.attributes or {}),
        span.status.status_code.name,
        tuple((event.name, str((event.attributes or {}).get("exception.message"))) for event in span.events),
    )


if __name__ == "__main__":
    tracing = Tracing()
    with Sourced(sys.argv[1]) as app:
        app.register(Cart, Stock)
        trace(app, tracing.provider)
        app.drain()
    sys.stdout.buffer.write(msgspec.json.encode(tracing.spans))
