"""Requests at random, from the OpenAPI documents that edge and cloud give out: each is answered as documented."""

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cloud.server import CloudServer, Settings
from deploy.testbed import LocalTestbed
from tests.e2e.processes import unharmed
from tests.llava import make_answerer, make_vqa_bundle
from tests.parts import random_pixels
from tests.thinwire.images.test_hostile import SAMPLES, mutate
from thinwire.images import to_png

CHECKS = (status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance)
PICTURE = to_png(random_pixels(1)[0])
# Below this a request may well run out of time.
PATIENT_MS = 5_000.0
ANSWER_WITHIN_S = 30.0
# The same requests in every run, so that a failure comes back.
REPEATABLE = {
    "derandomize": True,
    "database": None,
    "deadline": None,
    "phases": (Phase.generate,),
    "suppress_health_check": list(HealthCheck),
}


@st.composite
def images(draw: st.DrawFn) -> bytes:
    """An image as it should be, a damaged one, or noise."""
    kind = draw(st.sampled_from(("whole", "whole", "damaged", "noise")))
    if kind == "noise":
        return draw(st.binary(max_size=64))
    sample = draw(st.sampled_from((PICTURE, *SAMPLES.values())))
    return sample if kind == "whole" else mutate(sample, draw(st.integers(0, 2**63)))


# Where the document says so, else no request would get past the decoding of its image.
schemathesis.openapi.media_type("image/*", images())
schemathesis.openapi.format("binary", images())
schemathesis.openapi.format("byte", images().map(lambda image: base64.b64encode(image).decode()))


def timeout_ms(case: schemathesis.Case) -> float:
    """What a request asked for, or the default."""
    asked: Any = case.body if isinstance(case.body, dict) else case.query
    parameters = asked.get("parameters") if isinstance(asked, dict) else None
    if isinstance(parameters, str):
        try:
            parameters = json.loads(parameters)
        except ValueError:
            parameters = None
    value = parameters.get("timeout_ms") if isinstance(parameters, dict) else None
    return value if isinstance(value, int | float) else 2 * PATIENT_MS


def fuzz(url: str, mode: GenerationMode, examples: dict[str, int]) -> dict[int, int]:
    """Send ``examples[METHOD /path]`` requests to each operation, and check the answers.

    Returns:
        how many answers had each status.
    """
    document = httpx.get(f"{url}/openapi.json", timeout=ANSWER_WITHIN_S).json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=url)
    operations = {operation.ok().label: operation.ok() for operation in schema.get_all_operations()}
    assert examples.keys() <= operations.keys()
    statuses: dict[int, int] = {}

    def ask(case: schemathesis.Case) -> None:
        response = case.call(timeout=ANSWER_WITHIN_S)
        statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
        checks = [*CHECKS, negative_data_rejection] if mode is GenerationMode.NEGATIVE else [*CHECKS]
        if response.status_code == 504:
            assert timeout_ms(case) < PATIENT_MS
        else:
            checks.append(not_a_server_error)
        case.validate_response(response, checks=checks)

    for label, count in examples.items():
        test = given(operations[label].as_strategy(generation_mode=mode))(ask)
        settings(max_examples=count, **REPEATABLE)(test)()
    return statuses


@pytest.fixture(name="asked", scope="module")
def asked_fixture(testbed: LocalTestbed) -> Iterator[LocalTestbed]:
    """The testbed, to be found as it was."""
    with unharmed(testbed):
        yield testbed


# Where any request is as the document wants it, there is nothing to get wrong.
READS = {
    "GET /v1/models": 1,
    "GET /v1/models/{model}": 20,
    "GET /health/live": 1,
    "GET /health/ready": 1,
    "GET /metrics": 1,
}
EDGE_READS = READS | {"GET /v1/policies": 1, "GET /v1/policies/{policy_id}": 50}


@pytest.mark.parametrize("mode", GenerationMode)
def test_the_edge_answers_as_its_document_says(asked, mode):
    reads = EDGE_READS if mode is GenerationMode.POSITIVE else {}
    assert sum(fuzz(asked.edge_url, mode, {"POST /v1/classify": 200} | reads).values()) >= 200


@pytest.mark.parametrize("mode", GenerationMode)
def test_the_cloud_answers_as_its_document_says(asked, mode):
    reads = READS if mode is GenerationMode.POSITIVE else {}
    assert sum(fuzz(asked.cloud_url, mode, {"POST /v1/classify": 60} | reads).values()) >= 60


@pytest.fixture(name="questioned", scope="module")
def questioned_fixture() -> Iterator[str]:
    """The URL of a cloud that answers questions, on a loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> CloudServer:
        server = CloudServer([(make_vqa_bundle(), make_answerer())], Settings("127.0.0.1:0", rest_port=0))
        await server.start()
        return server

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
    yield f"http://127.0.0.1:{server.rest_port}"
    asyncio.run_coroutine_threadsafe(server.stop(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


ASKS = {"POST /v1/vqa": 80, "POST /v1/frames/{frame_id}/questions": 30, "POST /v1/chat/completions": 60}


@pytest.mark.parametrize("mode", GenerationMode)
def test_a_cloud_that_answers_questions_answers_as_its_document_says(questioned, mode):
    statuses = fuzz(questioned, mode, ASKS)
    assert sum(statuses.values()) >= sum(ASKS.values())
    # Some of what is right gets past its image.
    assert (200 in statuses) == (mode is GenerationMode.POSITIVE)
    image = base64.b64encode(PICTURE).decode()
    body = {"inputs": {"image": image, "question": "what?"}}
    assert httpx.post(f"{questioned}/v1/vqa", json=body, timeout=ANSWER_WITHIN_S).status_code == 200


def test_damaged_images_are_answered_or_refused(asked):
    statuses = set()
    with httpx.Client(timeout=ANSWER_WITHIN_S) as client:
        for seed in range(25):
            for sample in SAMPLES.values():
                image = mutate(sample, seed)
                url = asked.cloud_url if seed % 3 == 0 else asked.edge_url
                response = client.post(f"{url}/v1/classify", content=image, headers={"content-type": "image/png"})
                statuses.add(response.status_code)
                assert response.is_success or response.json()["error"] in ("invalid_image", "payload_too_large")
    assert {200, 422} <= statuses <= {200, 413, 422}
