"""The HTTP server's own part: its socket."""

import socket

import pytest

from thinwire.errors import UnavailableError
from thinwire.rest.server import _listen


def test_answers_do_not_wait_for_acknowledgements():
    (listener,) = _listen("127.0.0.1", 0)
    with listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_cannot_be_is_told(port):
    with pytest.raises(UnavailableError, match="ports are 0 to 65535"):
        _listen("127.0.0.1", port)


def test_a_port_that_is_taken_is_told():
    (listener,) = _listen("127.0.0.1", 0)
    with listener, pytest.raises(UnavailableError, match="cannot listen on"):
        _listen("127.0.0.1", listener.getsockname()[1])
