"""Exits with 0 if a process is healthy: ``python -m deploy.healthcheck http://HOST:PORT/PATH|HOST:PORT[/SERVICE]``."""

import sys
from http.client import HTTPException
from urllib.request import ProxyHandler, build_opener

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from thinwire.addresses import parse_address
from thinwire.errors import InvalidRequestError

TIMEOUT_S = 3.0


def trouble(target: str) -> str | None:
    """Ask a REST address by GET, or a gRPC address by the health protocol.

    Args:
        target: a URL, or ``HOST:PORT`` of a process, or that with ``/SERVICE`` for one of its gRPC services.

    Returns:
        what is wrong; None for a healthy process.
    """
    address, _, service = target.removeprefix("http://").partition("/")
    # Who is asked is one of our own: an http_proxy of the environment is for the web.
    try:
        parse_address(address, "the target")
        if target.startswith("http://"):
            with build_opener(ProxyHandler({})).open(target, timeout=TIMEOUT_S):
                return None
        with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
            request = health_pb2.HealthCheckRequest(service=service)
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_S)
    except (OSError, InvalidRequestError) as error:
        return str(error)
    except grpc.RpcError as error:
        return f"{target}: {error.details()}"
    except HTTPException as error:
        return f"{target} does not speak HTTP: {error!r}"
    return None if answer.status == health_pb2.HealthCheckResponse.SERVING else f"{target} does not serve"


def main(target: str) -> int:
    """Tell what is wrong on standard error; 0 for a healthy process, else 1."""
    found = trouble(target)
    if found:
        print(found, file=sys.stderr)
    return int(found is not None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
