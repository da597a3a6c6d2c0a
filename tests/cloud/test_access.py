"""Who may ask the cloud, and whose links and frames are whose."""

import grpc
import httpx
import pytest

from cloud.server import CloudServer, Settings
from tests.access import closed, shown, walk_grpc, walk_rest
from tests.cloud.vqa_server import about
from thinwire import rpc
from thinwire.access.callers import Caller, vouched
from thinwire.v1 import link_pb2_grpc


@pytest.fixture
async def server(vqa_bundle, answerer_factory, bundle, classifier, tmp_path):
    models = [(vqa_bundle, answerer_factory()), (bundle, classifier)]
    server = CloudServer(models, Settings("127.0.0.1:0", rest_port=0, security=closed(tmp_path)))
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def channel(server):
    async with rpc.open_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel


@pytest.fixture
async def http(server):
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as http:
        yield http


@pytest.fixture
def send(channel):
    stub = link_pb2_grpc.SemanticLinkStub(channel)

    async def send(frame, name="edge", behalf=()):
        return await stub.Infer(frame, metadata=(*shown(name).items(), *behalf))

    return send


async def question(http, frame, name):
    headers = shown(name)
    return await http.post(f"/v1/frames/{frame.request_id}/questions", json=about("what?"), headers=headers)


async def test_nothing_but_the_open_list_is_served_without_a_token(http):
    assert await walk_rest(http) > 6


async def test_nor_over_grpc(channel):
    walked = await walk_grpc(channel)
    assert {"/thinwire.v1.SemanticLink/Infer", "/thinwire.v1.SemanticLink/Stream"} < set(walked)


async def test_a_frame_belongs_to_whom_the_device_sent_it_for(http, send, make_vqa_frame):
    frame = make_vqa_frame(2)
    await send(frame, behalf=vouched(Caller("alice", token="alices"), frame.link_id, frame.request_id))
    assert (await question(http, frame, "alice")).status_code == 200
    for name in ("bob", "edge"):
        refused = await question(http, frame, name)
        assert (refused.status_code, refused.json()["error"]) == (404, "unknown_frame")


@pytest.mark.parametrize("token", ["bobs", "wrong"])
async def test_or_to_the_device_where_it_proves_nothing(http, send, make_vqa_frame, token):
    frame = make_vqa_frame(2)
    await send(frame, behalf=vouched(Caller("alice", token=token), frame.link_id, frame.request_id))
    assert (await question(http, frame, "edge")).status_code == 200
    assert (await question(http, frame, "alice")).status_code == 404


async def test_a_frame_that_comes_again_must_be_of_the_same(send, make_vqa_frame, make_frame):
    for frame in (make_vqa_frame(2), make_frame(2)):
        alices = vouched(Caller("alice", token="alices"), frame.link_id, frame.request_id)
        await send(frame, behalf=alices)
        await send(frame, behalf=alices)
        bobs = vouched(Caller("bob", token="bobs"), frame.link_id, frame.request_id)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await send(frame, behalf=bobs)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_link_is_whose_frames_came_over_it_first(send, make_frame):
    await send(make_frame(link_id="camera"))
    await send(make_frame(link_id="camera"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send(make_frame(link_id="camera"), "bob")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "no link 'camera' of yours" in caught.value.details()
    await send(make_frame(link_id="doorbell"), "bob")
