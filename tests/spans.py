"""Spans of this process, kept in memory."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from thinwire import tracing


class Spans:
    """What has ended, in order."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def all(self) -> tuple[ReadableSpan, ...]:
        """All of them."""
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of a name."""
        return [span for span in self.all() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        """The only one of a name."""
        (span,) = self.named(name)
        return span

    def family(self) -> dict[str, str | None]:
        """The name of each span's parent by its own name; None for a root or a parent elsewhere."""
        names = {span.context.span_id: span.name for span in self.all()}
        return {span.name: names.get(span.parent.span_id) if span.parent else None for span in self.all()}


@contextmanager
def recorded(service: str = "edge") -> Iterator[Spans]:
    """Trace this process during the block."""
    exporter = InMemorySpanExporter()
    with tracing.recording(service, SimpleSpanProcessor(exporter)):
        yield Spans(exporter)
