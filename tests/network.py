"""What the machine that runs the tests has of networks."""

import socket

import pytest


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback")
needs_both = pytest.mark.skipif(
    not (_has_ipv6() and socket.has_dualstack_ipv6()), reason="this machine has no sockets of both families"
)
