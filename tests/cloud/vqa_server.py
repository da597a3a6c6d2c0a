"""A server of the task "vqa" around a fake model, and what is asked of it."""

import base64
import io

import httpx
import pytest
import pytest_asyncio
from PIL import Image

from cloud.server import CloudServer, Settings
from thinwire import rpc
from thinwire.v1 import link_pb2_grpc

UNKNOWN = "0" * 32


def encode(colour=(200, 100, 50)):
    buffer = io.BytesIO()
    Image.new("RGB", (20, 16), colour).save(buffer, "PNG")
    return buffer.getvalue()


BLUE = encode((0, 0, 255))


def body(question="what?", image=BLUE, **parameters):
    return {"inputs": {"image": base64.b64encode(image).decode(), "question": question}, "parameters": parameters}


def about(question, stream=False, **parameters):
    return {"inputs": {"question": question}, "parameters": parameters, "stream": stream}


def chat(question="what?", url=None, **fields):
    url = url or "data:image/png;base64," + base64.b64encode(BLUE).decode()
    content = [{"type": "text", "text": question}, {"type": "image_url", "image_url": {"url": url}}]
    return {"model": "any", "messages": [{"role": "user", "content": content}], **fields}


class Served:
    def __init__(self, client, stub, model, server):
        self.client, self.stub, self.model, self.server = client, stub, model, server

    async def ask(self, frame_id, *arguments, **parameters):
        return await self.client.post(f"/v1/frames/{frame_id}/questions", json=about(*arguments, **parameters))

    def stream(self, frame_id, question, **parameters):
        content = about(question, True, **parameters)
        return self.client.stream("POST", f"/v1/frames/{frame_id}/questions", json=content)

    async def seen(self):
        return (await self.client.get("/metrics")).text


@pytest_asyncio.fixture(name="running", loop_scope="module", scope="module")
async def running_fixture(vqa_bundle, answerer_factory):
    fake = answerer_factory()
    server = CloudServer([(vqa_bundle, fake)], Settings("127.0.0.1:0", rest_port=0, held_frames=3, held_s=30.0))
    await server.start()
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as client,
        rpc.open_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        yield Served(client, link_pb2_grpc.SemanticLinkStub(channel), fake, server)
    fake.gate.set()
    await server.stop()


@pytest.fixture(name="served")
def served_fixture(running):
    running.model.viewed.clear()
    running.model.asked.clear()
    running.model.steps = 0
    yield running
    running.model.gate.set()


def check_problem(response, status, code):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["error"] == code
    return response.json()["detail"]


async def events_of(response):
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    return [line for line in (await response.aread()).decode().split("\n\n") if line]
