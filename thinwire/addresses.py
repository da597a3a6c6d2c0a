"""Addresses as options, logs and URLs write them: ``HOST:PORT``, an IPv6 address in brackets."""

import contextlib
import errno
import re
import socket
from ipaddress import IPv6Address
from typing import Any, NamedTuple

from thinwire.errors import InvalidRequestError, UnavailableError

MAX_PORT = 65_535
# Where an edge and a cloud answer REST unless told otherwise.
EDGE_URL, CLOUD_URL = "http://127.0.0.1:8080", "http://127.0.0.1:8000"
_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[^\[\]]+)\]|(?P<host>[^\s\[\]:/]+)):(?P<port>[0-9]{1,5})")
# gRPC's other ways to name a peer (its "name syntax"): a socket file, a resolver, addresses of one family.
_SCHEME = re.compile(r"(unix|unix-abstract|vsock|dns|ipv4|ipv6|xds):.")
# What a name may have beside an address that this machine lacks.
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Address(NamedTuple):
    """A host, without brackets, and a port; its text has them again."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str, name: str) -> Address:
    """Split ``HOST:PORT``.

    Args:
        text: a name or an IPv4 address, or an IPv6 address in brackets; and a port from 0 to 65535.
        name: what the error calls it.

    Raises:
        InvalidRequestError: it is none.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) > MAX_PORT or (found["ipv6"] and not _is_ipv6(found["ipv6"])):
        # Without brackets nobody knows where the address ends: ::1:50051 is one by itself.
        bare = _is_ipv6(text) or _is_ipv6(text.rpartition(":")[0])
        hint = "; an IPv6 address stands in brackets" if bare else ""
        raise InvalidRequestError(
            f"{name} must be HOST:PORT, such as 127.0.0.1:50051 or [::1]:50051, with a port up to {MAX_PORT}, "
            f"got {text[:80]!r}{hint}"
        )
    return Address(found["ipv6"] or found["host"], int(found["port"]))


def check_target(text: str, name: str) -> None:
    """Check what a channel is to be opened to: ``HOST:PORT``, or a gRPC name with a scheme, such as ``unix:/run/s``.

    Raises:
        InvalidRequestError: it is none. gRPC itself would take it and fail at every call.
    """
    if not _SCHEME.match(text) and parse_address(text, name).port == 0:
        raise InvalidRequestError(f"{name} must have a port from 1 to {MAX_PORT}, got {text[:80]!r}")


def listen(host: str, port: int) -> list[socket.socket]:
    """Listening TCP sockets on every address that a host has, all on one port.

    Args:
        host: a name or an address, an IPv6 address with or without brackets. "::" stands for all addresses of both
            families, where the system can; "0.0.0.0" for all of IPv4.
        port: 0 takes a free one.

    Raises:
        UnavailableError: the host is unknown, or the address cannot be bound; nothing is left listening.
    """
    host = host[1:-1] if host[:1] == "[" and host[-1:] == "]" else host
    where = Address(host, port)
    # Asked for such a port, Python leaves the socket open behind its OverflowError.
    if not 0 <= port <= MAX_PORT:
        raise UnavailableError(f"cannot listen on {where}: ports are 0 to {MAX_PORT}")
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return _listen_on(list(dict.fromkeys((family, address) for family, _, _, _, address in found)), port)
    # A name may have no encoding as one.
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UnavailableError(f"cannot listen on {where}: {reason}") from None


def _listen_on(found: list[tuple[int, tuple[Any, ...]]], port: int) -> list[socket.socket]:
    both = len(found) == 1 and found[0][1][0] == "::" and socket.has_dualstack_ipv6()
    unavailable: OSError | None = None
    listeners: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        for family, (host, _, *scope) in found:
            try:
                listener = socket.create_server((host, port, *scope), family=family, dualstack_ipv6=both)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                unavailable = error
                continue
            listeners.append(stack.enter_context(listener))
            port = listener.getsockname()[1]
        if unavailable is not None and not listeners:
            raise unavailable
        stack.pop_all()
    return listeners


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True
