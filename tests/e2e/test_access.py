"""Three closed processes: whose is whose from the edge to the cloud, and files that are replaced under load."""

import asyncio
import json
import threading
import time

import httpx
import pytest

from deploy.cli.main import main
from deploy.closing import Closed, closing
from deploy.demo import drawing
from deploy.ports import Ports
from deploy.testbed import LocalTestbed
from tests.access import LINES, TOKENS, shown
from tests.certificates import Authority, write
from tests.e2e.processes import logs, unharmed
from tests.parts import random_pixels
from thinwire import AsyncClient, Client
from thinwire.errors import ForbiddenError, UnauthenticatedError, UnavailableError, UnknownFrameError
from thinwire.images import to_png

PICTURE = to_png(random_pixels(1)[0])


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def token_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    write(path, LINES.encode())
    return path


@pytest.fixture(scope="module")
def testbed(authority, token_file, tmp_path_factory):
    closed = Closed([token_file], TOKENS["edge"], authority.client(), *authority.pair("server"))
    folder = tmp_path_factory.mktemp("logs")
    with LocalTestbed(["cifar10", "easy-vqa"], Ports.free(), log_folder=folder, closed=closed) as testbed:
        yield testbed


@pytest.fixture
def client(testbed):
    opened = []

    def open_client(name=None, **others):
        given = {"token": TOKENS[name] if name else "", "ca": testbed.addresses()["ca"]} | others
        opened.append(Client(testbed.edge_url, testbed.cloud_url, **given))
        return opened[-1]

    yield open_client
    for one in opened:
        one.close()


def test_a_client_shows_its_token(client, testbed, monkeypatch):
    assert client("alice").classify(PICTURE).link.channel_uses > 0
    with pytest.raises(UnauthenticatedError):
        client().classify(PICTURE)
    with pytest.raises(ForbiddenError):
        client("meter").models()
    monkeypatch.setenv("THINWIRE_TOKEN", TOKENS["alice"])
    assert client(token=None).models()

    async def ask():
        async with AsyncClient(testbed.edge_url, ca=testbed.addresses()["ca"]) as asking:
            return await asking.classify(PICTURE)

    assert asyncio.run(ask()).link.tokens > 0


def test_a_client_trusts_whom_it_is_told_to(client, tmp_path):
    with pytest.raises(UnavailableError, match="certificate"):
        client("alice", ca=None).models()
    with pytest.raises(UnavailableError, match="certificate"):
        client("alice", ca=Authority(tmp_path).ca).models()


def test_the_commands_show_the_token_of_the_environment(testbed, monkeypatch, capsys):
    ca, link = testbed.addresses()["ca"], testbed.addresses()["link"]
    monkeypatch.delenv("THINWIRE_TOKEN", raising=False)
    assert main(["channel", "show", "--channel", link, "--ca", ca]) == 1
    assert "unauthenticated" in capsys.readouterr().err
    monkeypatch.setenv("THINWIRE_TOKEN", TOKENS["meter"])
    assert main(["channel", "show", "--channel", link, "--ca", ca]) == 0
    assert main(["channel", "set", "--snr", "9", "--channel", link, "--ca", ca]) == 1
    assert "this needs control" in capsys.readouterr().err
    monkeypatch.setenv("THINWIRE_TOKEN", TOKENS["chief"])
    assert main(["channel", "set", "--snr", "10", "--channel", link, "--ca", ca, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["snr_db"] == 10


def test_what_somebody_sent_over_the_edge_is_theirs_at_the_cloud(client):
    alice, bob = client("alice"), client("bob")
    seen = alice.ask(drawing(), "what color is the triangle?", id="0123456789abcdef" * 2)
    assert alice.ask(seen, "is there a circle?").answer == "no"
    for who in (bob, client("edge")):
        with pytest.raises(UnknownFrameError):
            who.ask(seen, "is there a circle?")
    with pytest.raises(UnknownFrameError):
        bob.ask(drawing(), "what color is the triangle?", id=seen.id)


def test_plain_text_is_refused_everywhere_and_harms_nobody(testbed, client):
    ports = testbed.ports
    everywhere = (ports.edge_rest, ports.edge_grpc, ports.channel_grpc, ports.channel_metrics, ports.cloud_grpc)
    with unharmed(testbed):
        for port in (*everywhere, ports.cloud_rest):
            with pytest.raises(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{port}/health/live", timeout=10)
        assert client("alice").classify(PICTURE).label


def test_tokens_and_certificates_replaced_under_load_lose_no_request(testbed, authority, token_file):
    ended, answers, failures = threading.Event(), [], []

    def ask(name, with_new_connections):
        while not ended.is_set():
            with Client(testbed.edge_url, token=TOKENS[name], ca=authority.ca) as one:
                for _ in range(1 if with_new_connections else 20):
                    try:
                        answers.append(one.classify(PICTURE).id)
                    except Exception as error:
                        failures.append(error)
                    if ended.is_set():
                        return

    threads = [threading.Thread(target=ask, args=given) for given in (("alice", True), ("bob", False))]
    for thread in threads:
        thread.start()
    try:
        for turn in range(5):
            authority.pair("server")
            # In place, as an editor may write it.
            token_file.write_text(LINES + f"carol:carols{turn}\n")
            time.sleep(1.0)
            if turn == 2:
                token_file.write_text("")
                time.sleep(1.0)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert len(answers) > 20
    url, tls = f"{testbed.edge_url}/v1/models", authority.client().context()
    assert httpx.get(url, headers={"authorization": "Bearer carols4"}, verify=tls).status_code == 200
    assert httpx.get(url, headers={"authorization": "Bearer carols3"}, verify=tls).status_code == 401


def test_no_log_has_a_token(testbed):
    for path in logs(testbed):
        told = path.read_text()
        assert not [token for token in TOKENS.values() if f'"{token}"' in told or f"Bearer {token}" in told]
    edge = next(path for path in logs(testbed) if path.name == "edge.log").read_text()
    assert '"caller": "alice"' in edge


def test_metrics_are_for_those_who_may_read_them(testbed, authority):
    tls = authority.client().context()
    for url in (testbed.edge_url, testbed.cloud_url, testbed.addresses()["metrics"]):
        codes = [
            httpx.get(f"{url}/metrics", headers=headers, verify=tls).status_code
            for headers in ({}, shown("alice"), shown("meter"))
        ]
        assert codes == [401, 403, 200], url


def test_a_throw_away_authority_and_its_files_are_gone_afterwards(token_file):
    with closing(token_file, has_tls=True) as closed:
        folder = closed.cert.parent
        assert closed.key.stat().st_mode & 0o77 == 0
        assert (folder / "tokens").stat().st_mode & 0o77 == 0
    assert not folder.exists()
