"""gRPC as every process uses it: one factory for channels, one for servers, one mapping of errors to its and back.

That mapping also gives the one word for how a piece of work ended, in metrics, traces and logs.
"""

import asyncio
import json
import math
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from thinwire.addresses import parse_address
from thinwire.errors import BY_CODE, DeadlineError, OverBudgetError, OverloadedError, ThinwireError, UnavailableError
from thinwire.v1 import link_pb2

OK = "ok"
CANCELLED = "cancelled"
ERROR_METADATA = "thinwire-error"
# Beside the code of an error that says so: milliseconds after which the call may be made again, and the link's CSI.
RETRY_METADATA = "retry-after-ms"
CSI_METADATA = "thinwire-csi"
MAX_MESSAGE_BYTES = 64 * 2**20
# A receiver drops trailers over 8 KiB, status and all, and one character takes up to 12 bytes on the wire.
MAX_DETAIL_CHARACTERS = 600
# How often a client asks during a silent call whether its peer still lives.
KEEPALIVE_MS = 30_000
_LIMITS: list[tuple[str, Any]] = [
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
]
# A frame is safe to send again: the noise is keyed and the cloud deduplicates.
_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "thinwire.v1.SemanticLink"}],
            "waitForReady": False,
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2.0,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}


def open_channel(target: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.aio.Channel:
    """A channel to ``host:port`` with the message size, keepalive and retry that all of Thinwire uses.

    Args:
        target: the peer.
        credentials: of TLS; None for plain text.
    """
    options = [
        *_LIMITS,
        # The peer is one of our own: an http_proxy of the environment is for the web.
        ("grpc.enable_http_proxy", 0),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        ("grpc.enable_retries", 1),
        ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    ]
    if credentials is not None:
        return grpc.aio.secure_channel(target, credentials, options=options)
    return grpc.aio.insecure_channel(target, options=options)


async def is_serving(channel: grpc.aio.Channel, service: str, timeout_s: float) -> bool:
    """Whether the peer says within ``timeout_s`` seconds that it serves a service."""
    stub = health_pb2_grpc.HealthStub(channel)
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
    except grpc.aio.AioRpcError:
        return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


class Server:
    """A gRPC server that also serves health and reflection.

    Args:
        services: full names of the services that the caller adds to `grpc_server`.
        interceptors: what stands in front of all of them.
        credentials: of TLS; None for plain text.
    """

    def __init__(
        self,
        services: Sequence[str],
        interceptors: Sequence[Any] = (),
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        tolerated = [
            # By default gRPC takes pings more often than every five minutes for abuse, and ends the connection. Other
            # languages' clients ping every ten seconds at most, and a ping may arrive a little early.
            ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 6),
            # Without it the floor is two hours while no call is under way.
            ("grpc.keepalive_permit_without_calls", 1),
        ]
        self.grpc_server = grpc.aio.server(
            options=[*_LIMITS, ("grpc.so_reuseport", 0), *tolerated], interceptors=interceptors
        )
        self._credentials = credentials
        self._services = services
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc_server)
        names = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self.grpc_server)

    async def start(self, address: str) -> int:
        """Listen on ``host:port`` (port 0 takes a free one), report healthy, and return the port.

        Raises:
            InvalidRequestError: it is no such address.
            UnavailableError: the address cannot be bound.
        """
        # gRPC takes a port above the highest modulo 65536, and an IPv6 address without brackets for another one.
        parse_address(address, "the address to listen on")
        try:
            if self._credentials is not None:
                port = self.grpc_server.add_secure_port(address, self._credentials)
            else:
                port = self.grpc_server.add_insecure_port(address)
        except RuntimeError as error:
            raise UnavailableError(f"cannot listen on {address}: {error}") from None
        await self.grpc_server.start()
        for name in ("", *self._services):
            await self.set_serving(name, True)
        return port

    async def set_serving(self, service: str, serving: bool) -> None:
        """Report a service as healthy or not, until the server stops."""
        statuses = health_pb2.HealthCheckResponse
        await self._health.set(service, statuses.SERVING if serving else statuses.NOT_SERVING)

    async def stop(self, grace_s: float = 5.0) -> None:
        """Report unhealthy, finish what runs within ``grace_s`` seconds, and stop."""
        await self._health.enter_graceful_shutdown()
        await self.grpc_server.stop(grace_s)


async def abort(
    context: grpc.aio.ServicerContext[Any, Any], error: ThinwireError, metadata: tuple[tuple[str, str], ...] = ()
) -> NoReturn:
    """End a call with the status that the error's class has, its code in the trailing metadata before ``metadata``."""
    status = getattr(grpc.StatusCode, error.grpc_status)
    detail = str(error)
    if len(detail) > MAX_DETAIL_CHARACTERS:
        detail = detail[: MAX_DETAIL_CHARACTERS - 3] + "..."
    await context.abort(status, detail, (*error_metadata(error), *metadata))
    raise AssertionError("unreachable: abort always raises")


def error_metadata(error: ThinwireError) -> tuple[tuple[str, str], ...]:
    """The trailing metadata that tells what `to_problem` does, but for the detail."""
    problem = to_problem(error)
    told: tuple[tuple[str, str], ...] = ((ERROR_METADATA, problem.code),)
    if problem.retry_after_ms:
        told = (*told, (RETRY_METADATA, str(problem.retry_after_ms)))
    return (*told, (CSI_METADATA, problem.csi)) if problem.csi else told


def retry_after_ms(error: ThinwireError) -> int:
    """Milliseconds after which a refused call may be made again; 0 where the error is none of overload."""
    # What is unavailable is tried again by gRPC itself, at a pace of its own.
    if not isinstance(error, OverloadedError) or error.retry_after_s is None:
        return 0
    return max(1, math.ceil(1e3 * error.retry_after_s))


def from_rpc_error(error: grpc.aio.AioRpcError) -> ThinwireError:
    """The error that the other side raised, or what the transport's own status means."""
    detail = error.details() or ""
    metadata: Iterable[tuple[str, str | bytes]] = error.trailing_metadata() or ()
    code = dict(metadata).get(ERROR_METADATA)
    if isinstance(code, str) and code in BY_CODE:
        csi = dict(metadata).get(CSI_METADATA)
        retry_after_ms = _milliseconds(dict(metadata).get(RETRY_METADATA))
        told = csi if isinstance(csi, str) else ""
        return from_problem(link_pb2.Problem(code=code, detail=detail, retry_after_ms=retry_after_ms, csi=told))
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineError(detail or "the link did not answer in time")
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return UnavailableError(detail or "the link is down")
    return ThinwireError(f"{error.code().name}: {detail}")


def from_problem(problem: link_pb2.Problem) -> ThinwireError:
    """The error that a result in a stream carries."""
    error = BY_CODE.get(problem.code, ThinwireError)(problem.detail)
    if problem.retry_after_ms and isinstance(error, OverloadedError):
        error.retry_after_s = problem.retry_after_ms / 1e3
    if isinstance(error, OverBudgetError):
        error.csi = problem.csi
    return error


def to_problem(error: ThinwireError) -> link_pb2.Problem:
    """What a result in a stream carries of an error."""
    csi = error.csi if isinstance(error, OverBudgetError) else ""
    return link_pb2.Problem(code=error.code, detail=str(error), retry_after_ms=retry_after_ms(error), csi=csi)


def _milliseconds(value: object) -> int:
    # A peer's text.
    return int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value) else 0


def outcome_of(error: BaseException) -> str:
    """The word: "cancelled", or the code of an error; what is none of `thinwire.errors` is "internal"."""
    # A stream that its reader leaves ends with a GeneratorExit.
    if isinstance(error, asyncio.CancelledError | GeneratorExit) or _is_disconnect(error):
        return CANCELLED
    if isinstance(error, grpc.aio.AioRpcError):
        error = from_rpc_error(error)
    return error.code if isinstance(error, ThinwireError) else ThinwireError.code


def _is_disconnect(error: BaseException) -> bool:
    # Looked up and not imported: the channel's image has no REST.
    requests = sys.modules.get("starlette.requests")
    return requests is not None and isinstance(error, requests.ClientDisconnect)
