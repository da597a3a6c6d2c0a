"""One trace per request across the three processes, by OpenTelemetry.

Off unless the environment names an exporter, and then nothing of OpenTelemetry is loaded: `span` gives an empty context
and the rest returns at once. The provider is our own and not OpenTelemetry's global one, by which FastAPI would add
spans of every route and dependency.
"""

import logging
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from thinwire.errors import ThinwireError, UnavailableError
from thinwire.otel import exporter_name, open_exporter, open_provider, refusing_complaints
from thinwire.rpc import MAX_DETAIL_CHARACTERS, outcome_of
from thinwire.v1 import link_pb2

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import Tracer

Value = str | int | float | bool | None
Carrier = tuple[tuple[str, str], ...]
SERVER, CLIENT, INTERNAL = "SERVER", "CLIENT", "INTERNAL"
# How long a process that ends waits for its last spans to be taken.
FLUSH_S = 1.5
_HEADERS = ("traceparent", "tracestate")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_OFF: AbstractContextManager[None] = nullcontext()
_log = logging.getLogger(__name__)
# What the process was started with, like its logging; None is off.
_tracer: "Tracer | None" = None


def is_on() -> bool:
    """Whether spans are made."""
    return _tracer is not None


def span(
    name: str, kind: str = INTERNAL, parent: Mapping[str, str] | Carrier | None = None, **attributes: Value
) -> AbstractContextManager[None]:
    """A span over a block; one that raises ends it with the status "error" and the error's code.

    Args:
        name: the same for all of its kind: ids are attributes.
        kind: `SERVER`, `CLIENT` or `INTERNAL`.
        parent: headers of the request that it serves; without a ``traceparent`` in them it starts a trace. None makes
            it a child of the span around it.
        attributes: what is known from the start; see `annotate`.
    """
    return _OFF if _tracer is None else _span(_tracer, name, kind, parent, attributes)


@contextmanager
def _span(
    tracer: "Tracer", name: str, kind: str, parent: Mapping[str, str] | Carrier | None, attributes: dict[str, Value]
) -> Iterator[None]:
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind, use_span
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    # Into an empty context: a server's task may inherit that of whoever happened to start the server.
    context = None if parent is None else TraceContextTextMapPropagator().extract(dict(parent), Context())
    started = tracer.start_span(name, context, SpanKind[kind], _named(attributes))
    with use_span(started, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except BaseException as error:
            fail(outcome_of(error), str(error) if isinstance(error, ThinwireError) else "")
            raise


def record(name: str, start_s: float, end_s: float, **attributes: Value) -> None:
    """Add a child to the span around the call after the fact, between two times of `time.perf_counter`."""
    if _tracer is None:
        return
    epoch_s = time.time() - time.perf_counter()
    start_ns, end_ns = (int((epoch_s + at_s) * 1e9) for at_s in (start_s, end_s))
    _tracer.start_span(name, attributes=_named(attributes), start_time=start_ns).end(end_ns)


def annotate(**attributes: Value) -> None:
    """Add attributes to the span around the call, each as ``thinwire.`` and its name; None adds nothing."""
    if _tracer is not None:
        from opentelemetry.trace import get_current_span

        get_current_span().set_attributes(_named(attributes))


def fail(code: str, detail: str = "") -> None:
    """Give the span around the call the status "error", and its code as ``error.type``."""
    if _tracer is not None:
        from opentelemetry.trace import Status, StatusCode, get_current_span

        get_current_span().set_status(Status(StatusCode.ERROR, _text(detail or code)))
        get_current_span().set_attribute("error.type", code)


def outgoing() -> Carrier:
    """The W3C headers by which the next hop's spans become children of the span around the call; () without one."""
    if _tracer is None:
        return ()
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return tuple(headers.items())


def traceparent() -> str:
    """The span around the call, as a frame of a stream names it; "" without one."""
    return dict(outgoing()).get("traceparent", "")


def incoming(frame: link_pb2.Frame, metadata: Iterable[tuple[str, Any]] | None) -> Carrier:
    """The W3C headers that a frame came with: its own in a stream, or else those of its call."""
    # A sender's text, which would be refused as metadata further on.
    if _TRACEPARENT.fullmatch(frame.traceparent):
        return (("traceparent", frame.traceparent),)
    return tuple((key, value) for key, value in metadata or () if key in _HEADERS)


def ids() -> dict[str, str]:
    """``trace_id`` and ``span_id`` of the span around the call, in hexadecimal; empty if none is or was recorded."""
    if _tracer is None:
        return {}
    from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

    context = get_current_span().get_span_context()
    # Of one that has ended, too: what is logged after an answer belongs to it.
    if not context.trace_flags.sampled:
        return {}
    return {"trace_id": format_trace_id(context.trace_id), "span_id": format_span_id(context.span_id)}


@contextmanager
def exporting(service: str) -> Iterator[None]:
    """Trace this process during the block, if the environment names an exporter; at its end, send what is left.

    What the variables are is in docs/operations.md; `thinwire.otel` reads them, and OpenTelemetry itself the rest.

    Args:
        service: "edge", "channel" or "cloud"; unless the environment names the service, it is ``thinwire-`` and this.

    Raises:
        InvalidRequestError: the environment asks for what cannot be done.
        UnavailableError: the extra "tracing" is not installed.
    """
    name = exporter_name(os.environ)
    if name == "none":
        yield
        return
    try:
        with ExitStack() as refused:
            with refusing_complaints():
                from opentelemetry.sdk.trace.export import BatchSpanProcessor

                provider = open_provider(service)
                refused.callback(_shut_down, provider)
                exporter: Any = _Reporting(open_exporter(name))
                provider.add_span_processor(BatchSpanProcessor(exporter))
            refused.pop_all()
    except ImportError as error:
        raise UnavailableError(f"traces need the extra 'tracing': pip install -e '.[tracing]' ({error})") from None
    # The exporter and the queue complain of every attempt. What matters is said once, below.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    with _recording(provider):
        yield


@contextmanager
def recording(service: str, processor: "SpanProcessor") -> Iterator[None]:
    """Make spans during the block and hand them to a processor, which is shut down at its end."""
    provider = open_provider(service)
    provider.add_span_processor(processor)
    with _recording(provider):
        yield


@contextmanager
def _recording(provider: "TracerProvider") -> Iterator[None]:
    global _tracer
    before, _tracer = _tracer, provider.get_tracer("thinwire")
    try:
        yield
    finally:
        _tracer = before
        _shut_down(provider)


def _shut_down(provider: "TracerProvider") -> None:
    # The provider's own patience with a collector that is down is half a minute, and cannot be set.
    ending = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
    ending.start()
    ending.join(FLUSH_S)


class _Reporting:
    """An exporter that says once that it fails, and once that it works again."""

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter
        self._fails = False

    def export(self, spans: Sequence[Any]) -> Any:
        result = self._exporter.export(spans)
        fails = result.name != "SUCCESS"
        if fails != self._fails:
            self._fails = fails
            if fails:
                _log.warning("traces are lost: the collector does not take them")
            else:
                _log.info("traces are taken again")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _named(attributes: Mapping[str, Value]) -> dict[str, str | int | float | bool]:
    plain = {name: _text(value) if isinstance(value, str) else value for name, value in attributes.items()}
    return {f"thinwire.{name}": value for name, value in plain.items() if value is not None}


def _text(text: str) -> str:
    # One lone surrogate from a client, and the exporter drops the whole batch of spans.
    return text[:MAX_DETAIL_CHARACTERS].encode(errors="replace").decode()
