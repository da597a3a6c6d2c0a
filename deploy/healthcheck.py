"""Exits with 0 if a process is healthy: ``python -m deploy.healthcheck http://HOST:PORT/PATH|HOST:PORT[/SERVICE]``.

TLS as for all clients: ``--ca FILE``, ``--client-cert FILE`` and ``--client-key FILE``, and https. No token is needed.
"""

import argparse
import sys
from http.client import HTTPException
from pathlib import Path
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from thinwire.access import ClientTls
from thinwire.addresses import parse_address
from thinwire.errors import InvalidRequestError

TIMEOUT_S = 3.0


def trouble(target: str, tls: ClientTls | None = None) -> str | None:
    """Ask a REST address by GET, or a gRPC address by the health protocol.

    Args:
        target: a URL, or ``HOST:PORT`` of a process, or that with ``/SERVICE`` for one of its gRPC services.
        tls: whom to trust; None for plain text over gRPC.

    Returns:
        what is wrong; None for a healthy process.
    """
    scheme, _, rest = target.rpartition("://")
    address, _, service = rest.partition("/")
    # Who is asked is one of our own: an http_proxy of the environment is for the web.
    try:
        parse_address(address if scheme in ("", "http", "https") else target, "the target")
        if scheme:
            handlers = [HTTPSHandler(context=tls.context())] if tls else []
            with build_opener(ProxyHandler({}), *handlers).open(target, timeout=TIMEOUT_S):
                return None
        options = [("grpc.enable_http_proxy", 0)]
        secured = grpc.secure_channel(address, tls.grpc_credentials(), options) if tls else None
        with secured or grpc.insecure_channel(address, options) as channel:
            request = health_pb2.HealthCheckRequest(service=service)
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_S)
    except (OSError, InvalidRequestError) as error:
        return str(error)
    except grpc.RpcError as error:
        return f"{target}: {error.details()}"
    except HTTPException as error:
        return f"{target} does not speak HTTP: {error!r}"
    return None if answer.status == health_pb2.HealthCheckResponse.SERVING else f"{target} does not serve"


def main(*arguments: str) -> int:
    """Tell what is wrong on standard error; 0 for a healthy process, else 1."""
    parser = argparse.ArgumentParser(prog="deploy.healthcheck")
    parser.add_argument("target")
    for name in ("--ca", "--client-cert", "--client-key"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args(arguments)
    try:
        files = (options.ca, options.client_cert, options.client_key)
        found = trouble(options.target, ClientTls(*files) if any(files) else None)
    except InvalidRequestError as error:
        found = str(error)
    if found:
        print(found, file=sys.stderr)
    return int(found is not None)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
