"""``/v1/models`` in OpenAI's form and in ours, and one of them."""

import time
from dataclasses import replace

import httpx
import pytest
from fastapi import FastAPI

from tests.openai import check_openai
from tests.parts import make_bundle
from thinwire.rest import models, problems


@pytest.fixture(name="bundles")
def bundles_fixture():
    bundle = make_bundle()
    return [replace(bundle, name="first"), replace(bundle, name="org/second:3")]


@pytest.fixture(name="client")
async def client_fixture(bundles):
    app = FastAPI()
    problems.install(app)
    models.add_to(app, bundles)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        yield client


def ours(bundle):
    return {
        "name": bundle.name,
        "digest": bundle.digest,
        "task": "classify",
        "labels": list(bundle.labels),
        "input_size": bundle.preprocessing.size,
        "split_layer": bundle.split_layer,
        "depth": bundle.depth,
        "patches": bundle.patches,
        "rates": list(bundle.codec.rates),
    }


def theirs(bundle, created):
    return {"id": bundle.name, "object": "model", "created": created, "owned_by": "thinwire"}


async def test_the_list(client, bundles):
    content = (await client.get("/v1/models")).json()
    created = content["data"][0]["created"]
    assert 0 <= time.time() - created < 3600
    assert content == {
        "object": "list",
        "data": [theirs(bundle, created) for bundle in bundles],
        "models": [ours(bundle) for bundle in bundles],
    }
    # Of the process, not of the request.
    assert (await client.get("/v1/models")).json() == content


async def test_one_of_them(client, bundles):
    created = (await client.get("/v1/models")).json()["data"][0]["created"]
    for bundle, path in zip(bundles, ("first", "org/second:3"), strict=True):
        assert (await client.get(f"/v1/models/{path}")).json() == theirs(bundle, created) | ours(bundle)
    assert (await client.get("/v1/models/org%2Fsecond%3A3")).json()["name"] == "org/second:3"


@pytest.mark.parametrize("name", ["third", "first/", "FIRST", "org", "gpt-4o", "a/b/c", "x" * 5000])
async def test_none_of_them(client, name):
    error = check_openai(await client.get(f"/v1/models/{name}"), 404, "model_not_found")
    assert (error["type"], error["param"]) == ("invalid_request_error", "model")
    assert name[:80] in error["message"]
    assert "first, org/second:3" in error["message"]
    assert len(error["message"]) < 200


async def test_another_method(client):
    response = await client.delete("/v1/models/first")
    check_openai(response, 405, "http_error")
    check_openai(await client.post("/v1/models"), 405, "http_error")
