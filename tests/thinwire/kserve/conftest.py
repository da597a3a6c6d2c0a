"""The fake backend behind both of the protocol's doors."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest
from fastapi import FastAPI

from tests.thinwire.conftest import make_bundle
from tests.thinwire.kserve.fakes import LABELS, FakeBackend
from thinwire import rpc
from thinwire.kserve import rest, servicer
from thinwire.rest import problems
from thinwire.v1 import inference_pb2_grpc


@pytest.fixture
def backend() -> FakeBackend:
    bundle = make_bundle(Path(), name="colours", labels=LABELS)
    asking = replace(bundle, name="a/b", task="vqa", labels=())
    return FakeBackend([bundle, asking, replace(bundle, name="speaks", task="transcription", labels=())])


@pytest.fixture
async def http(backend: FakeBackend) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    problems.install(app)
    rest.add_to(app, backend)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


@pytest.fixture
async def stub(backend: FakeBackend) -> AsyncIterator[Any]:
    server = rpc.Server([servicer.SERVICE])
    servicer.add_to(server, backend)
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]
        # For what no stub would send.
        stub.channel = channel
        yield stub
    await server.stop(0.0)
