"""What the protocol's routes refuse, in the protocol's form, with what is wrong in its text."""

import asyncio
import gzip
import json
import random
import re
from typing import Any

import httpx
import pytest

from tests.thinwire.kserve.fakes import BLACK, BLUE, RED, FakeBackend
from tests.thinwire.kserve.requests import ASKING, IMAGES, LENGTH, URL, in_json, send, told
from tests.thinwire.kserve.slow import encode
from thinwire.errors import InvalidImageError
from thinwire.kserve.bodies import MAX_BYTES, MAX_JSON_BYTES
from thinwire.kserve.models import MAX_IMAGES


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"topk": 1}, "parameter 'topk': not known here; there is policy, channel_uses, top_k, snr_db"),
        ({"top_k": 0}, "parameter top_k: Input should be greater than or equal to 1"),
        ({"channel_uses": "many"}, "parameter channel_uses: Input should be a valid integer"),
        ({"snr_db": 100}, "parameter snr_db: "),
        ({"channel_model": 3}, "parameter channel_model: "),
        ({"seed": -1}, "parameter seed: "),
        ({"timeout": 0.5}, "parameter 'timeout': expected whole microseconds"),
        ({"timeout": 10**9}, "parameter 'timeout': expected whole microseconds, up to 600000000"),
        ({"budget": {"channel_uses": 3}}, "parameter 'budget': expected a number, a text, true or false"),
        ({"binary_data_output": 1}, "parameter 'binary_data_output': expected true or false"),
        ({"priority": 3}, "parameter 'priority': not known here"),
    ],
)
async def test_a_wrong_parameter_is_named(
    http: httpx.AsyncClient, backend: FakeBackend, given: Any, words: str
) -> None:
    assert words in told(await http.post(URL, json=in_json(RED, parameters=given)))
    assert backend.seen == []
    assert len(backend.failures) == 1


async def test_top_k_is_of_labels_only(http: httpx.AsyncClient) -> None:
    inputs = {"image": ("BYTES", [RED]), "question": ("BYTES", [b"what?"])}
    assert "'top_k': not known here" in told(await send(http, inputs, ASKING, parameters={"top_k": 1}))


def one(**fields: Any) -> dict[str, Any]:
    return {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["aGk="]} | fields


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "expected one of the inputs 'image' and 'pixels'"),
        ([one(name="img")], "input 'img': model 'colours' takes image, pixels"),
        ([one(), one()], "input 'image': came more than once"),
        ([one(datatype="FP32")], "input 'image': expected the datatype BYTES, got 'FP32'"),
        ([one(shape=[])], "input 'image': expected the shape [n]"),
        ([one(shape=[1, 1])], "input 'image': expected the shape [n]"),
        ([one(shape=[0], data=[])], "n at least 1, got [0]"),
        ([one(shape=[-1])], "inputs.0.shape.0: "),
        ([one(shape=[2])], "expected 2 elements, as its shape says, got 1"),
        ([one(data=[["aGk="]])], "expected a flat list of strings"),
        ([one(data=[3])], "expected a flat list of strings"),
        ([one(data=None)], "expected data, or binary_data_size"),
        ([one(data=["no base64!"])], "image is not base64"),
        ([one(data=["http://example.org/a.png"])], "nothing is fetched"),
        ([one()], "2 bytes that are not an image"),
        ([one(shape=[MAX_IMAGES + 1], data=["aGk="] * (MAX_IMAGES + 1))], f"a request takes up to {MAX_IMAGES}"),
        ([one(parameters={"shared_memory_region": "a"})], "parameter 'shared_memory_region': not known here"),
        ([one(data=None, parameters={"binary_data_size": 1})], "binary_data_size is 1, and 0 are left behind the JSON"),
        ([one(parameters={"binary_data_size": 0})], "expected data or binary_data_size, got both"),
        ([one(parameters={"binary_data_size": -1})], "binary_data_size: expected a number of bytes"),
        ([one(name="pixels", datatype="INT8", shape=[1, 1, 1, 3], data=[1, 2, 3])], "UINT8 or FP32, got 'INT8'"),
        ([one(name="pixels", datatype="UINT8", shape=[1, 1, 3, 1], data=[1, 2, 3])], "the shape [n, n, n, 3]"),
        ([one(name="pixels", datatype="UINT8", shape=[1, 1, 1, 3], data=[1, 2])], "expected 3 numbers"),
        ([one(name="pixels", datatype="UINT8", shape=[1, 1, 1, 3], data=[1, 2, 256])], "from 0 to 255, got 1 to 256"),
        ([one(name="pixels", datatype="UINT8", shape=[1, 1, 1, 3], data=[1, 2, 0.5])], "a list of numbers of UINT8"),
        ([one(name="pixels", datatype="UINT8", shape=[1, 1, 1, 3], data=[True] * 3)], "a list of numbers of UINT8"),
        ([one(name="pixels", datatype="UINT8", shape=[1, 1, 1, 3], data=[1, 2, "3"])], "a list of numbers of UINT8"),
        ([one(name="pixels", datatype="UINT8", shape=[1, 1, 1, 3], data=[1, [2, 3]])], "in rows of one length"),
        ([one(name="pixels", datatype="FP32", shape=[1, 1, 1, 3], data=[0, 1, 255])], "from 0 to 1, got 0 to 255"),
        ([one(name="pixels", datatype="FP32", shape=[1, 1, 1, 3], data=[0, 1, "NaN"])], "a list of numbers of FP32"),
        (
            [one(), one(name="pixels", datatype="UINT8", shape=[1, 1, 1, 3], data=[1, 2, 3])],
            "expected one of the inputs",
        ),
    ],
)
async def test_a_wrong_input_is_named(http: httpx.AsyncClient, inputs: Any, words: str) -> None:
    assert words in told(await http.post(URL, json={"inputs": inputs}))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1e-3"])
async def test_pixels_that_are_no_colour_are_refused(http: httpx.AsyncClient, value: str) -> None:
    # A bare NaN is what clients write.
    body = json.dumps({"inputs": [one(name="pixels", datatype="FP32", shape=[1, 1, 1, 3], data=[0.5, 0.5, "VALUE"])]})
    body = body.replace('"VALUE"', value)
    assert "from 0 to 1" in told(await http.post(URL, content=body))


@pytest.mark.parametrize(
    ("questions", "words"),
    [
        ([b"a"], "expected as many questions as images: image has 2, question has 1"),
        ([b"a", b""], "element 1: question: String should have at least 1 character"),
        ([b"\xff", b"a"], "element 0 is not UTF-8"),
        ([b"a" * 2001, b"a"], "element 0: question: String should have at most 2000 characters"),
    ],
)
async def test_a_wrong_question_is_named(http: httpx.AsyncClient, questions: list[bytes], words: str) -> None:
    inputs = {"image": ("BYTES", [RED, BLUE]), "question": ("BYTES", questions)}
    assert words in told(await send(http, inputs, ASKING))


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ([{"name": "answer"}], "output 'answer': model 'colours' gives label, score, channel_uses, tokens, policy"),
        ([{"name": "label"}, {"name": "label"}], "output 'label': asked for more than once"),
        ([{"name": "label", "parameters": {"classification": 2}}], "classification is of the scores of labels"),
        ([{"name": "score", "parameters": {"classification": 1001}}], "expected classification from 1 to 1000"),
        ([{"name": "score", "parameters": {"classification": -1}}], "expected classification from 1 to 1000"),
        ([{"name": "score", "parameters": {"classification": True}}], "classification: expected a whole number"),
        ([{"name": "score", "parameters": {"binary_data": "yes"}}], "binary_data: expected true or false"),
        ([{"name": "score", "parameters": {"x": 1}}], "parameter 'x': not known here"),
    ],
)
async def test_a_wrong_output_is_named(http: httpx.AsyncClient, wanted: Any, words: str) -> None:
    assert words in told(await http.post(URL, json=in_json(RED, outputs=wanted)))


async def test_lengths_that_cannot_be_are_refused(http: httpx.AsyncClient) -> None:
    content, headers = encode(IMAGES)
    right = int(headers["Inference-Header-Content-Length"])
    for wrong in (0, 1, right - 1, right + 1, len(content), len(content) + 1, -1, "x", "", "1e3", "9" * 40, "²"):
        value = str(wrong).encode()
        assert told(await http.post(URL, content=content, headers={LENGTH: value})), wrong
    assert "one number of bytes" in told(await http.post(URL, content=content, headers=[(LENGTH, "1"), (LENGTH, "1")]))
    # As a client sends it that keeps the headers of its last call.
    assert "is it of another?" in told(await http.post(URL, json=in_json(RED), headers={LENGTH: "100000"}))
    assert told(await http.post(URL, content=content))
    assert "1 bytes of the body belong to no input" in told(
        await http.post(URL, content=content + b"x", headers=headers)
    )
    assert told(await http.post(URL, content=content[:-1], headers=headers))


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (b"\1\0\0", "3 bytes are left over"),
        (b"\xff\xff\xff\xff", "element 0 says 4294967295 bytes, and 0 are left"),
        (b"\2\0\0\0a", "element 0 says 2 bytes, and 1 are left"),
        (b"\0\0\0\0" * 1000, "expected 1 elements, as its shape says, got more"),
        (b"", "expected 1 elements, as its shape says, got 0"),
        (b"\0\0\0\0", "0 bytes that are not an image"),
    ],
)
async def test_elements_that_cannot_be_are_refused(http: httpx.AsyncClient, tail: bytes, words: str) -> None:
    size = {"binary_data_size": len(tail)}
    head = json.dumps({"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "parameters": size}]}).encode()
    assert words in told(await http.post(URL, content=head + tail, headers={LENGTH: str(len(head))}))


async def test_an_image_that_fails_is_numbered(http: httpx.AsyncClient, backend: FakeBackend) -> None:
    assert told(await send(http, {"image": ("BYTES", [RED, b"no", BLUE])})).startswith("image 1: 2 bytes that are not")
    assert told(await send(http, {"image": ("BYTES", [b"no"])})).startswith("2 bytes that are not an image")


async def test_damaged_bodies_are_no_failure_of_ours(http: httpx.AsyncClient) -> None:
    rng = random.Random(0)
    pixels = {"pixels": ("FP32", [[[[0.5, 0.25, 1.0]] * 2] * 2])}
    wholes = [encode({"image": ("BYTES", [RED, BLUE])}, id="x", parameters={"top_k": 2}), encode(pixels)]
    statuses = set()
    for _ in range(300):
        content, headers = rng.choice(wholes)
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(damaged))
            damaged[at : at + rng.choice((0, 1, 1, 8))] = rng.randbytes(rng.choice((0, 1, 1, 4)))
        if rng.random() < 0.2:
            headers = {LENGTH: str(rng.randint(-1, len(damaged) + 1))}
        response = await http.post(URL, content=bytes(damaged), headers=headers)
        statuses.add(response.status_code)
        if response.status_code != 200:
            assert told(response, response.status_code)
    assert statuses <= {200, 400, 413}
    assert 400 in statuses


async def test_images_that_fail_together_are_told_apart(
    http: httpx.AsyncClient, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = InvalidImageError("of the batch")

    async def fail(*_: Any) -> Any:
        await asyncio.sleep(0.01)
        raise shared

    monkeypatch.setattr(backend, "classify", fail)
    assert re.fullmatch("image [01]: of the batch", told(await send(http, {"image": ("BYTES", [RED, BLUE])})))
    assert str(shared) == "of the batch"


async def test_an_unexpected_error_tells_no_secret(http: httpx.AsyncClient) -> None:
    assert told(await send(http, {"image": ("BYTES", [RED, BLACK])}), 500) == "an unexpected error; see the log"


async def test_a_request_has_its_time(http: httpx.AsyncClient, backend: FakeBackend) -> None:
    backend.pause_s = 30
    assert told(await send(http, IMAGES, parameters={"timeout": 50_000}), 504) == "no answer within 50 ms"
    await asyncio.sleep(0)
    assert backend.under_way == 0


async def test_bodies_have_their_limits(http: httpx.AsyncClient) -> None:
    assert str(MAX_BYTES) in told(await http.post(URL, content=bytes(MAX_BYTES + 1)), 413)
    bomb = gzip.compress(bytes(MAX_BYTES + 1), 1)
    assert str(MAX_BYTES) in told(await http.post(URL, content=bomb, headers={"content-encoding": "gzip"}), 413)
    assert str(MAX_JSON_BYTES) in told(await http.post(URL, content=b" " * (MAX_JSON_BYTES + 1)), 413)
    assert told(await http.post(URL, content=b"{}", headers={"content-encoding": "br"}), 415)
    # Parsed, this would take seconds and two gigabytes.
    lists = b'{"inputs": [{"name": "pixels", "data": [' + b"[[[[0]]]]," * 2_000_000 + b"0]}]}"
    assert "values that are not raw; the limit is 262144" in told(await http.post(URL, content=lists), 413)


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"[]", b"{", b"[" * 100_000, b'{"inputs": [], "x": 1}', b'{"inputs": [], "id": 3}']
)
async def test_what_is_no_request_is_refused(http: httpx.AsyncClient, body: bytes) -> None:
    assert told(await http.post(URL, content=body))
    assert "query" in told(await http.post(URL + "?a=b", json=in_json(RED)))


@pytest.mark.parametrize("end", ["", "/ready", "/infer"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nope", "no model 'nope' here; there is colours, a/b"),
        ("a%2Fnope", "no model 'a/nope' here"),
        ("colours/versions/1", "model 'colours' has the version "),
        ("speaks", "the task 'transcription', which is not offered under /v2"),
    ],
)
async def test_a_model_that_is_not_there(http: httpx.AsyncClient, end: str, name: str, words: str) -> None:
    path = f"/v2/models/{name}{end}"
    response = await (http.post(path, json=in_json(RED)) if end == "/infer" else http.get(path))
    assert words in told(response, 404)


async def test_other_routes_fail_in_the_protocols_form(http: httpx.AsyncClient) -> None:
    assert told(await http.get("/v2/nope"), 404)
    assert told(await http.post("/v2/health/live"), 405)
    assert told(await http.post("/v2/repository/index"), 404)
    assert (await http.get("/v1/nope")).headers["content-type"] == "application/problem+json"
