"""Who may ask the edge, for whom it asks the link, and whose repeats are whose."""

import asyncio
import json
import logging

import grpc
import httpx
import pytest

from edge.server import EdgeServer, Settings
from tests.access import closed, shown, status_of, walk_grpc, walk_rest
from thinwire import rpc
from thinwire.access import Limits
from thinwire.access.callers import is_vouched
from thinwire.errors import ForbiddenError, UnauthenticatedError
from thinwire.logs import JsonFormatter

PNG = {"content-type": "image/png"}
ID = "0123456789abcdef" * 2


@pytest.fixture
def security(tmp_path):
    return closed(tmp_path, link_token="edges")


@pytest.fixture
async def server(bundle, engine, cloud, front_file, security):
    settings = Settings(f"127.0.0.1:{cloud.port}", "camera", rest_port=0, grpc_address="127.0.0.1:0", security=security)
    server = EdgeServer([(bundle, engine)], settings)
    await server.start()
    yield server
    engine.open.set()
    await server.stop()


@pytest.fixture
async def http(server):
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as http:
        yield http


async def ask(http, picture, name="alice", **headers):
    headers = PNG | shown(name) | {key.replace("_", "-"): value for key, value in headers.items()}
    return await http.post("/v1/classify", content=picture, headers=headers)


async def test_nothing_but_the_open_list_is_served_without_a_token(http):
    assert await walk_rest(http) > 6


async def test_nor_over_grpc(server):
    async with rpc.open_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        walked = await walk_grpc(channel)
    assert {"/inference.GRPCInferenceService/ModelInfer", "/inference.GRPCInferenceService/ModelMetadata"} < set(walked)


async def test_errors_of_the_gate_have_the_form_of_their_route(http):
    problem = await http.post("/v1/classify", content=b"")
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["error"] == "unauthenticated"
    assert problem.headers["x-request-id"]
    openais = await http.post("/v1/chat/completions", headers=shown("meter"))
    assert openais.status_code == 403
    assert openais.json()["error"]["code"] == "forbidden"
    assert 'scope="infer"' in openais.headers["www-authenticate"]


async def test_names_are_logged_and_tokens_are_not(http, picture, caplog):
    caplog.set_level(logging.INFO)
    lines = []

    class Kept(logging.Handler):
        def emit(self, record):
            lines.append(JsonFormatter("edge").format(record))

    logging.getLogger().addHandler(kept := Kept())
    try:
        await ask(http, picture())
        await http.get("/metrics", headers=shown("alice"))
        await http.get("/v1/models", headers={"authorization": "Bearer nobodys"})
    finally:
        logging.getLogger().removeHandler(kept)
    told = [json.loads(line) for line in lines]
    assert [one["caller"] for one in told if one["message"] == "frame"] == ["alice"]
    refused = [(one["where"], one["error"]) for one in told if one["message"] == "refused"]
    assert refused == [("GET /metrics", "forbidden"), ("GET /v1/models", "unauthenticated")]
    assert not [line for line in lines if "alices" in line or "nobodys" in line]


async def test_the_link_sees_the_devices_token_and_proof_of_whose_the_frame_is(http, cloud, picture, monkeypatch):
    seen = []
    infer = cloud.Infer

    async def keep(frame, context):
        seen.append((frame, dict(context.invocation_metadata())))
        return await infer(frame, context)

    monkeypatch.setattr(cloud, "Infer", keep)
    await cloud.stop()
    await cloud.start()
    assert (await ask(http, picture())).status_code == 200
    frame, metadata = seen[0]
    assert metadata["authorization"] == "Bearer edges"
    told = metadata["thinwire-on-behalf"]
    assert "alices" not in told
    assert is_vouched(told, "alice", ("other", "alices"), frame.link_id, frame.request_id)
    assert not is_vouched(told, "alice", ("alices",), frame.link_id, ID)
    assert not is_vouched(told, "alice", ("bobs",), frame.link_id, frame.request_id)
    assert not is_vouched(told, "bob", ("alices",), frame.link_id, frame.request_id)


async def test_an_id_is_its_first_callers(http, picture):
    assert (await ask(http, picture(), idempotency_key=ID)).status_code == 200
    for content in (picture(), picture(1)):
        others = await ask(http, content, "bob", idempotency_key=ID)
        assert (others.status_code, others.json()["error"]) == (404, "unknown_frame")
    assert (await ask(http, picture(), idempotency_key=ID)).status_code == 200
    assert (await ask(http, picture(1), idempotency_key=ID)).status_code == 409


async def test_a_key_of_words_is_each_callers_own(http, picture):
    alices = await ask(http, picture(), idempotency_key="monday")
    bobs = await ask(http, picture(1), "bob", idempotency_key="monday")
    assert (alices.status_code, bobs.status_code) == (200, 200)
    assert alices.json()["id"] != bobs.json()["id"]


@pytest.mark.parametrize("error", [UnauthenticatedError("no token"), ForbiddenError("no infer")])
async def test_a_link_that_refuses_the_device_is_no_fault_of_the_caller(http, cloud, picture, error):
    cloud.refusal = lambda _: error
    response = await ask(http, picture())
    assert response.status_code == 503
    assert "refuses this device (THINWIRE_TOKEN)" in response.json()["detail"]


class TestLimits:
    @pytest.fixture
    def security(self, tmp_path):
        return closed(tmp_path, limits=Limits(rate=0.5, concurrency=1))

    async def test_a_name_that_asks_too_often_is_told_when_to_come_again(self, http, picture):
        assert (await ask(http, picture())).status_code == 200
        refused = await ask(http, picture())
        assert (refused.status_code, refused.json()["error"]) == (429, "overloaded")
        assert 1 <= int(refused.headers["retry-after"]) <= 2
        assert (await ask(http, picture(), "bob")).status_code == 200
        # Neither counts: it is asked for by whoever watches.
        assert (await http.get("/health/ready")).status_code == 200

    async def test_nor_may_it_ask_for_too_much_at_once(self, http, picture, engine):
        engine.open.clear()
        first = asyncio.create_task(ask(http, picture()))
        async with asyncio.timeout(20):
            while not engine.calls:
                await asyncio.sleep(0.01)
        refused = await ask(http, picture())
        assert refused.status_code == 429
        assert "under way" in refused.json()["detail"]
        engine.open.set()
        assert (await first).status_code == 200

    async def test_calls_over_grpc_are_counted_too(self, server):
        method, kind = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", (True, True)
        async with rpc.open_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            metadata = tuple(shown("bob").items())
            assert await status_of(channel, method, kind, metadata) is grpc.StatusCode.OK
            assert await status_of(channel, method, kind, metadata) is grpc.StatusCode.RESOURCE_EXHAUSTED
