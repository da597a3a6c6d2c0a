"""TLS of REST and gRPC: who is refused, that it is said once, and that files are replaced without a restart."""

import asyncio
import logging
import socket
import ssl

import httpx
import pytest

from tests.certificates import Authority, write
from thinwire import rpc
from thinwire.access import ClientTls, Gate, ServerTls
from thinwire.access.files import LOOK_S
from thinwire.access.rpc import Peer, open_server
from thinwire.errors import InvalidRequestError
from thinwire.rest.application import Application
from thinwire.rest.server import HttpServer


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("theirs"))


@pytest.fixture
async def rest():
    servers = []

    async def start(tls):
        app = Application()

        @app.get("/hello")
        async def hello() -> str:
            return "hello"

        servers.append(HttpServer(app, "127.0.0.1", 0, 1.0, tls=tls))
        return await servers[-1].start()

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
async def link():
    servers = []

    async def start(tls):
        servers.append(open_server([], Gate(), tls))
        return f"127.0.0.1:{await servers[-1].start('127.0.0.1:0')}"

    yield start
    for server in servers:
        await server.stop(0)


async def get(port, tls):
    async with httpx.AsyncClient(verify=tls.context(), timeout=20) as http:
        return (await http.get(f"https://127.0.0.1:{port}/hello")).status_code


async def is_served(target, tls, timeout_s=3.0):
    peer = Peer(target, tls)
    try:
        return await rpc.is_serving(peer.channel, "", timeout_s)
    finally:
        await peer.close()


def refusals(caplog):
    return [one.why for one in caplog.records if one.name == "thinwire.access.tls"]


async def test_rest_is_served_to_whom_the_authority_is_known(rest, authority, stranger):
    port = await rest(authority.server())
    assert await get(port, authority.client()) == 200
    with pytest.raises(httpx.ConnectError, match="certificate"):
        await get(port, stranger.client())


@pytest.mark.parametrize("which", ["none", "expired", "another authority's"])
async def test_rest_refuses_a_client_without_a_good_certificate(rest, authority, stranger, caplog, which):
    port = await rest(authority.server(mutual=True))
    shown = {
        "none": None,
        "expired": authority.pair("expired", days=-1),
        "another authority's": stranger.pair("stranger"),
    }[which]
    with pytest.raises(httpx.TransportError):
        await get(port, authority.client(shown))
    assert len(refusals(caplog)) == 1
    assert await get(port, authority.client(authority.pair("client"))) == 200
    assert len(refusals(caplog)) == 1


async def test_rest_refuses_plain_text(rest, authority, caplog):
    port = await rest(authority.server())
    async with httpx.AsyncClient(timeout=20) as http:
        with pytest.raises(httpx.TransportError):
            await http.get(f"http://127.0.0.1:{port}/hello")
    assert refusals(caplog) == ["http request"]
    # Who only looks whether somebody listens is nothing to tell of.
    with socket.create_connection(("127.0.0.1", port)):
        pass
    assert await get(port, authority.client()) == 200


async def test_a_client_of_rest_refuses_an_expired_server(rest, authority):
    port = await rest(authority.server("late", days=-1))
    with pytest.raises(httpx.ConnectError, match="expired"):
        await get(port, authority.client())


async def test_grpc_is_served_to_whom_the_authority_is_known(link, authority, stranger):
    target = await link(authority.server())
    assert await is_served(target, authority.client(), 20)
    assert not await is_served(target, stranger.client())
    assert not await is_served(target, None)


async def test_grpc_refuses_a_client_without_a_good_certificate(link, authority, stranger):
    target = await link(authority.server(mutual=True))
    for shown in (None, authority.pair("expired", days=-1), stranger.pair("stranger")):
        assert not await is_served(target, authority.client(shown))
    assert await is_served(target, authority.client(authority.pair("client")), 20)


async def serial_of(port):
    """Serial number of what a server shows now."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    shown = writer.get_extra_info("ssl_object").getpeercert(True)
    writer.close()
    return hash(shown)


async def test_certificates_are_replaced_without_a_restart_and_connections_go_on(rest, link, authority):
    pair = authority.pair("renewed")
    tls = ServerTls(*pair)
    port, target = await rest(tls), await link(tls)
    over_grpc = int(target.rpartition(":")[2])
    before = await serial_of(port), await serial_of(over_grpc)
    async with httpx.AsyncClient(verify=authority.client().context(), timeout=20) as http:
        url = f"https://127.0.0.1:{port}/hello"
        assert (await http.get(url)).status_code == 200
        authority.pair("renewed")
        await asyncio.sleep(2 * LOOK_S)
        assert (await http.get(url)).status_code == 200
    after = await serial_of(port), await serial_of(over_grpc)
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert await get(port, authority.client()) == 200
    assert await is_served(target, authority.client(), 20)


async def test_half_of_a_new_pair_leaves_the_old_one(rest, authority, caplog):
    caplog.set_level(logging.INFO)
    pair = authority.pair("halved")
    port = await rest(ServerTls(*pair))
    new = authority.pair("other")
    write(pair.cert, new.cert.read_bytes(), 4.0)
    for _ in range(3):
        await asyncio.sleep(LOOK_S)
        assert await get(port, authority.client()) == 200
    assert len([one for one in caplog.records if "stays" in one.getMessage()]) == 1
    before = await serial_of(port)
    write(pair.key, new.key.read_bytes(), 4.0)
    await asyncio.sleep(LOOK_S)
    assert await serial_of(port) != before


async def test_who_signs_clients_is_replaced_too(rest, link, tmp_path):
    first, second = Authority(tmp_path / "1"), Authority(tmp_path / "2")
    trusted = tmp_path / "clients.pem"
    write(trusted, first.ca.read_bytes())
    tls = ServerTls(*first.pair("server"), trusted)
    port, target = await rest(tls), await link(tls)
    old, new = (ClientTls(first.ca, *one.pair("client")) for one in (first, second))
    assert await get(port, old) == 200
    assert await is_served(target, old, 20)
    write(trusted, second.ca.read_bytes(), 4.0)
    await asyncio.sleep(2 * LOOK_S)
    assert await get(port, new) == 200
    assert await is_served(target, new, 20)
    with pytest.raises(httpx.TransportError):
        await get(port, old)
    assert not await is_served(target, old)


async def test_a_link_takes_a_new_certificate_of_its_own(link, tmp_path):
    first, second = Authority(tmp_path / "1"), Authority(tmp_path / "2")
    trusted = tmp_path / "clients.pem"
    write(trusted, first.ca.read_bytes())
    target = await link(ServerTls(*first.pair("server"), trusted))
    shown = first.pair("device")
    peer = Peer(target, ClientTls(first.ca, *shown))
    assert await rpc.is_serving(peer.channel, "", 20)
    before = peer.channel
    other = second.pair("device")
    write(shown.cert, other.cert.read_bytes(), 4.0)
    write(shown.key, other.key.read_bytes(), 4.0)
    write(trusted, second.ca.read_bytes(), 4.0)
    await asyncio.sleep(2 * LOOK_S)
    assert peer.channel is not before
    assert await rpc.is_serving(peer.channel, "", 20)
    await peer.close()


def test_files_that_cannot_serve_are_refused_by_name(authority, stranger, tmp_path):
    pair, other = authority.pair("good"), stranger.pair("other")
    missing, text = tmp_path / "missing", tmp_path / "text"
    text.write_text("no certificate")
    for given, said in (
        ((pair.cert, other.key), "no PEM certificate with its key"),
        ((text, pair.key), "no PEM certificate with its key"),
        ((missing, pair.key), "missing"),
        ((pair.cert, missing), "missing"),
        ((*pair, text), "has no PEM certificates"),
        ((*pair, missing), "missing"),
    ):
        with pytest.raises(InvalidRequestError, match=said):
            ServerTls(*given)
    for given in ((missing,), (text,), (None, pair.cert), (None, None, pair.key), (authority.ca, pair.cert, other.key)):
        with pytest.raises(InvalidRequestError):
            ClientTls(*given)


def test_a_key_with_a_password_is_refused(authority, tmp_path):
    from cryptography.hazmat.primitives import serialization

    pair = authority.pair("locked")
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    form = serialization.PrivateFormat.PKCS8
    locked.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(b"secret"))
    )
    with pytest.raises(InvalidRequestError, match="has a password"):
        ServerTls(pair.cert, locked)
