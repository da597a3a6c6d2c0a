"""Addresses are taken apart in one way, and listened on in one way."""

import socket

import pytest

from tests.network import needs_both, needs_ipv6
from thinwire.addresses import Address, check_target, listen, parse_address
from thinwire.errors import InvalidRequestError, UnavailableError


def close(listeners):
    for listener in listeners:
        listener.close()


@pytest.fixture(name="names")
def names_fixture(monkeypatch):
    """Gives names addresses for the test."""
    known = {}
    ask = socket.getaddrinfo

    def getaddrinfo(host, port, *arguments, **options):
        if host not in known:
            return ask(host, port, *arguments, **options)
        return [found for one in known[host] for found in ask(one, port, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return known


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:50051", "127.0.0.1", 50051),
        ("cloud:0", "cloud", 0),
        ("cloud-1.example.org:65535", "cloud-1.example.org", 65535),
        ("[::1]:50061", "::1", 50061),
        ("[::]:0", "::", 0),
        ("[2001:db8::7]:443", "2001:db8::7", 443),
        ("[fe80::1%eth0]:1", "fe80::1%eth0", 1),
        ("[::ffff:127.0.0.1]:1", "::ffff:127.0.0.1", 1),
    ],
)
def test_an_address_is_taken_apart_and_put_together(text, host, port):
    address = parse_address(text, "listen")
    assert address == (host, port)
    assert str(address) == f"{address}" == text
    check_target(text.removesuffix(":0") + ":1" if port == 0 else text, "upstream")


@pytest.mark.parametrize(
    "text",
    [
        *("", "cloud", "50051", ":50051", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:-1", "127.0.0.1:65536", "a:1:2"),
        *("cloud:500510", "cloud:٣", " cloud:1", "cloud:1 ", "cloud:1\n", "a b:1", "http://cloud:1", "cloud:1/x"),
        *("[]:1", "[::1]", "[::1]:", "[127.0.0.1]:1", "[cloud]:1", "[[::1]]:1", "[::1:1", "::1]:1", "[::1]1"),
        *("[::1%]:1", "[::g]:1"),
    ],
)
@pytest.mark.parametrize("check", [parse_address, check_target])
def test_what_is_none_is_refused_in_one_line(text, check):
    with pytest.raises(InvalidRequestError) as caught:
        check(text, "listen")
    said = str(caught.value)
    assert said.startswith("listen must be HOST:PORT, such as 127.0.0.1:50051 or [::1]:50051")
    assert said.endswith(f"got {text!r}")
    assert "\n" not in said


@pytest.mark.parametrize("text", ["::1:50051", "::1", "::", ":::0", "2001:db8::7:443", "fe80::1%eth0:50051"])
@pytest.mark.parametrize("check", [parse_address, check_target])
def test_an_ipv6_address_without_brackets_is_ambiguous(text, check):
    with pytest.raises(InvalidRequestError, match=r"an IPv6 address stands in brackets$"):
        check(text, "listen")


def test_what_is_quoted_of_it_is_bounded():
    with pytest.raises(InvalidRequestError) as caught:
        parse_address("x" * 10_000, "listen")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "text", ["unix:/run/link.sock", "unix:///run/link.sock", "unix-abstract:link", "dns:///cloud:50051", "ipv6:[::1]:1"]
)
def test_a_target_may_be_named_as_grpc_names_it_and_an_address_may_not(text):
    check_target(text, "upstream")
    with pytest.raises(InvalidRequestError, match="listen must be HOST:PORT"):
        parse_address(text, "listen")


@pytest.mark.parametrize("text", ["cloud:0", "[::1]:0"])
def test_nobody_is_reached_at_port_0(text):
    with pytest.raises(InvalidRequestError, match="upstream must have a port from 1 to 65535"):
        check_target(text, "upstream")


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_is_listened_on(host):
    (listener,) = listen(host, 0)
    with listener, socket.create_connection(listener.getsockname()[:2], 5):
        assert listener.getsockname()[0] == "::1"


@needs_both
@pytest.mark.parametrize("host", ["::", "[::]"])
def test_two_colons_are_both_families(host):
    (listener,) = listen(host, 0)
    with listener:
        for other in ("127.0.0.1", "::1"):
            socket.create_connection((other, listener.getsockname()[1]), 5).close()


@needs_ipv6
def test_a_name_is_listened_on_at_each_of_its_addresses_and_once(names):
    names["edge"] = ["::1", "127.0.0.1", "::1"]
    listeners = listen("edge", 0)
    try:
        assert [listener.getsockname()[0] for listener in listeners] == ["::1", "127.0.0.1"]
        (port,) = {listener.getsockname()[1] for listener in listeners}
        for host in names["edge"]:
            socket.create_connection((host, port), 5).close()
    finally:
        close(listeners)


def test_an_address_that_this_machine_lacks_is_left_out_beside_one_that_it_has(names):
    # TEST-NET-3 (RFC 5737): nobody's.
    names["edge"] = ["203.0.113.7", "127.0.0.1"]
    listeners = listen("edge", 0)
    close(listeners)
    assert len(listeners) == 1
    names["edge"] = ["203.0.113.7"]
    with pytest.raises(UnavailableError, match=r"cannot listen on edge:0: .*[Cc]annot assign|edge:0: Can't assign"):
        listen("edge", 0)


@needs_ipv6
def test_one_taken_address_leaves_none_of_the_others(names):
    names["edge"] = ["127.0.0.1", "::1"]
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError, match=rf"cannot listen on edge:{port}: .*in use"):
            listen("edge", port)
        socket.create_server(("127.0.0.1", port)).close()


@needs_ipv6
def test_an_error_has_the_address_in_brackets():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UnavailableError, match=rf"cannot listen on \[::1\]:{port}: .*in use"):
            listen("::1", port)


@pytest.mark.parametrize("port", [-1, 65536])
def test_an_impossible_port_is_refused(port):
    with pytest.raises(UnavailableError, match="ports are 0 to 65535"):
        listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["edge.invalid", "256.0.0.1", "x" * 70, "a..b", "[::1", "::g"])
def test_an_unknown_host_is_told(host, monkeypatch):
    # Whatever the machine's resolver makes of them.
    def getaddrinfo(name, *_, **__):
        name.encode("idna")
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with pytest.raises(UnavailableError, match="cannot listen on"):
        listen(host, 0)


def test_an_address_in_a_log_has_its_brackets():
    assert str(Address("::1", 5)) == "[::1]:5"
    assert str(Address("127.0.0.1", 5)) == "127.0.0.1:5"
