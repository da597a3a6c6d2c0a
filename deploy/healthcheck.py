"""Exits with 0 if a process is healthy: ``python -m deploy.healthcheck http://HOST:PORT/health/ready|HOST:PORT``."""

import sys
from urllib.request import urlopen

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S = 3.0


def main(target: str) -> int:
    """Ask a REST address by GET, or a gRPC address by the health protocol."""
    try:
        if target.startswith("http://"):
            with urlopen(target, timeout=TIMEOUT_S):
                return 0
        with grpc.insecure_channel(target) as channel:
            request = health_pb2.HealthCheckRequest()
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=TIMEOUT_S)
            return int(answer.status != health_pb2.HealthCheckResponse.SERVING)
    except (OSError, grpc.RpcError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
