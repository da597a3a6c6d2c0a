"""What OpenTelemetry's variables of the environment ask for.

The SDK warns of a value that it does not know and goes on with another one. Here it is an error, before the process
serves.
"""

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from thinwire.errors import InvalidRequestError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import Sampler

_EXPORTERS = ("otlp", "console", "none")
_PROTOCOLS = ("http/protobuf", "grpc")
_PROPAGATORS = ("tracecontext", "baggage")
# As the exporters take it: a token, and what is printable but for quotes, commas, semicolons and backslashes.
_HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+[ \t]*=[ !#-+\--:<-\[\]-~]*", re.ASCII)
_SAMPLERS = tuple(
    before + name for before in ("", "parentbased_") for name in ("always_on", "always_off", "traceidratio")
)


def exporter_name(environ: Mapping[str, str]) -> str:
    """The exporter that ``OTEL_TRACES_EXPORTER``, or else an endpoint, means: "otlp", "console" or "none".

    Raises:
        InvalidRequestError: there is no such exporter.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return "none"
    default = "otlp" if any(_of_traces("ENDPOINT", environ)) else "none"
    name = environ.get("OTEL_TRACES_EXPORTER", "").strip() or default
    return _one_of("OTEL_TRACES_EXPORTER", name, _EXPORTERS)


def open_exporter(name: str) -> Any:
    """The exporter "console" (one JSON object a line on standard output) or "otlp", as the environment has it.

    Raises:
        InvalidRequestError: the environment asks for another protocol, or has no endpoint or headers of it.
        ImportError: a package is missing.
    """
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stdout, formatter=lambda ended: f"{ended.to_json(indent=None)}\n")
    variable, protocol = _of_traces("PROTOCOL", os.environ)
    protocol = _one_of(variable, protocol or _PROTOCOLS[0], _PROTOCOLS)
    variable, endpoint = _of_traces("ENDPOINT", os.environ)
    if endpoint and not _is_endpoint(endpoint, protocol):
        raise InvalidRequestError(f"{variable} must be a URL such as http://127.0.0.1:4318, got {endpoint[:80]!r}")
    variable, headers = _of_traces("HEADERS", os.environ)
    if not all(_HEADER.fullmatch(pair.strip()) for pair in headers.split(",") if pair.strip()):
        # Told without its value, which may be a secret.
        raise InvalidRequestError(f"{variable} must be pairs of name=value, URL-encoded, with commas between them")
    package = "http" if protocol == "http/protobuf" else protocol
    return import_module(f"opentelemetry.exporter.otlp.proto.{package}.trace_exporter").OTLPSpanExporter()


def open_provider(service: str) -> "TracerProvider":
    """What makes the spans of ``thinwire-`` and a service, or of whom the environment names.

    Raises:
        InvalidRequestError: the environment asks for a sampler or a propagator that there is not, or its attributes
            are none.
    """
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider

    propagators = os.environ.get("OTEL_PROPAGATORS", "").split(",")
    for name in filter(None, map(str.strip, propagators)):
        _one_of("OTEL_PROPAGATORS", name, _PROPAGATORS)
    _check_attributes(os.environ)
    # Of OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES.
    named = OTELResourceDetector().detect().attributes.get("service.name")
    resource = Resource.create({} if named else {"service.name": f"thinwire-{service}"})
    return TracerProvider(sampler=_sampler(os.environ), resource=resource, shutdown_on_exit=False)


def _check_attributes(environ: MutableMapping[str, str]) -> None:
    variable = "OTEL_RESOURCE_ATTRIBUTES"
    pairs = [pair for pair in environ.get(variable, "").split(",") if pair.strip()]
    for pair in pairs:
        if not pair.partition("=")[0].strip() or "=" not in pair:
            raise InvalidRequestError(
                f"{variable} must be pairs of name=value with commas between them, got {pair.strip()[:80]!r}"
            )
    # As other SDKs take it, a comma too many is nothing. OpenTelemetry's for Python warns of it, and reads no other.
    if variable in environ:
        environ[variable] = ",".join(pairs)


def _sampler(environ: Mapping[str, str]) -> "Sampler | None":
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON, DEFAULT_ON

    name = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    share = environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    if not name:
        return DEFAULT_ON
    if not _one_of("OTEL_TRACES_SAMPLER", name, _SAMPLERS).endswith("traceidratio"):
        return None
    if not share:
        return ALWAYS_ON if name == "traceidratio" else DEFAULT_ON
    try:
        sound = 0 <= float(share) <= 1
    except ValueError:
        sound = False
    if not sound:
        raise InvalidRequestError(f"OTEL_TRACES_SAMPLER_ARG must be from 0 to 1, got {share[:80]!r}")
    # OpenTelemetry reads it itself.
    return None


@contextmanager
def refusing_complaints() -> Iterator[None]:
    """Raise what OpenTelemetry warns of, or raises, during the block.

    Raises:
        InvalidRequestError: it does not take some variable of its own.
    """
    logger, complaints = logging.getLogger("opentelemetry"), _Complaints(logging.WARNING)
    level, propagates = logger.level, logger.propagate
    logger.setLevel(logging.WARNING)
    logger.addHandler(complaints)
    logger.propagate = False
    try:
        yield
    except (ImportError, InvalidRequestError):
        raise
    except Exception as error:
        complaints.texts.append(f"{type(error).__name__}: {error}")
    finally:
        logger.removeHandler(complaints)
        logger.setLevel(level)
        logger.propagate = propagates
    if complaints.texts:
        text = " ".join(complaints.texts[0].split())
        raise InvalidRequestError(f"OpenTelemetry does not take {', '.join(_named_in(text))}: {text[:200]}")


def _named_in(text: str) -> list[str]:
    """Those of its variables that a complaint is about: by name, by value, or by what they set; else all of them."""
    values = {name: value.strip() for name, value in sorted(os.environ.items()) if name.startswith("OTEL_")}
    words = [word.removesuffix("_millis") for word in re.findall(r"[a-z]+(?:_[a-z]+)+", text)]
    return (
        [name for name in values if name in text]
        or [name for name, value in values.items() if value and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text)]
        or [name for name in values if any(name.endswith(f"_{word.upper()}") for word in words)]
        or list(values)
    )


class _Complaints(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.texts: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        # Another thread's is of an exporter that runs already.
        if threading.get_ident() == self._thread:
            self.texts.append(record.getMessage())


def _of_traces(end: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """The variable of OTLP that counts for traces, and its value; "" for both where none is set."""
    for name in (f"OTEL_EXPORTER_OTLP_TRACES_{end}", f"OTEL_EXPORTER_OTLP_{end}"):
        if value := environ.get(name, "").strip():
            return name, value
    return "", ""


def _is_endpoint(text: str, protocol: str) -> bool:
    try:
        parts = urlsplit(text)
        if parts.scheme in ("http", "https"):
            return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    # gRPC's own names have no slashes: host:port, unix:path.
    return protocol == "grpc" and "//" not in text


def _one_of(variable: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise InvalidRequestError(f"{variable} must be one of {', '.join(known)}, got {value[:80]!r}")
    return value
