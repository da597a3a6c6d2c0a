"""Triton's client, as people have it, against an edge and a cloud with the shipped bundles.

It wants an older protobuf than ours and runs in an environment of its own, THINWIRE_KSERVE_CLIENT: a folder with
requirements-kserve.txt of this folder installed, as .ci/run makes it.
"""

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from skimage import data

from deploy.ports import Ports
from deploy.testbed import LocalTestbed
from tests.readme import ROOT, USE, blocks
from thinwire.bundle import load_bundle
from thinwire.images import to_png

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]
SCRIPT = Path(__file__).with_name("kserve_client.py")
QUESTION = "what is in the image?"
ENDS, DOORS = ("edge", "cloud"), ("http", "grpc")
# So little noise that answers are the same whenever they are asked for.
CALM = {"snr_db": 60, "policy": "none"}
SIDE = 60
PIXELS = np.stack(
    [
        picture()[120 + 20 * row :, 40 + 50 * column :][:SIDE, :SIDE]
        for picture in (data.chelsea, data.astronaut)
        for row in range(5)
        for column in range(5)
    ]
)


@pytest.fixture(name="testbed", scope="module")
def testbed_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTestbed]:
    if "THINWIRE_KSERVE_CLIENT" not in os.environ:
        pytest.skip("THINWIRE_KSERVE_CLIENT names no folder with Triton's client")
    with LocalTestbed(["cifar10", "easy-vqa"], Ports.free(), log_folder=tmp_path_factory.mktemp("logs")) as testbed:
        yield testbed


@pytest.fixture(name="images", scope="module")
def images_fixture() -> list[str]:
    """In base64."""
    assert len(PIXELS) == 50
    return [base64.b64encode(to_png(pixels)).decode() for pixels in PIXELS]


@pytest.fixture(name="end", scope="module", params=ENDS)
def end_fixture(request: pytest.FixtureRequest) -> str:
    end: str = request.param
    return end


@pytest.fixture(name="calm", scope="module")
def calm_fixture(end: str) -> dict[str, Any]:
    """Parameters by which answers repeat."""
    return CALM if end == "edge" else {}


@pytest.fixture(name="shown", scope="module")
def shown_fixture(
    testbed: LocalTestbed, end: str, calm: dict[str, Any], images: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the client shows of each case."""
    ports, home = testbed.ports, tmp_path_factory.mktemp("home")
    rest, grpc = (ports.edge_rest, ports.edge_grpc) if end == "edge" else (ports.cloud_rest, ports.cloud_grpc)
    asked = {
        "http": f"127.0.0.1:{rest}",
        "grpc": f"127.0.0.1:{grpc}",
        "images": images,
        "pixels": base64.b64encode(PIXELS[:3].tobytes()).decode(),
        "shape": PIXELS[:3].shape,
        "question": QUESTION,
        "parameters": calm,
    }
    python = Path(os.environ["THINWIRE_KSERVE_CLIENT"]).resolve() / "bin/python"
    # Nothing of this environment: no proxy, no path to our modules.
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    done = subprocess.run(
        [python, SCRIPT],
        input=json.dumps(asked),
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


@pytest.fixture(name="theirs", scope="module")
def theirs_fixture(testbed: LocalTestbed, end: str, calm: dict[str, Any], images: list[str]) -> list[Any]:
    """What `/v1/classify` answers to each image."""
    url = testbed.edge_url if end == "edge" else testbed.cloud_url
    parameters = {"policy": "none", "channel": {"snr_db": 60}} if calm else {}

    def ask(path: str, inputs: Any) -> Any:
        response = httpx.post(url + path, json={"inputs": inputs, "parameters": parameters}, timeout=60)
        assert response.status_code == 200, response.text
        return response.json()

    labels = [ask("/v1/classify", image) for image in images]
    return [*labels, *(ask("/v1/vqa", {"image": image, "question": QUESTION}) for image in images[:3])]


def answer_of(shown: dict[str, Any], door: str, case: str) -> Any:
    assert "answer" in shown[door][case], shown[door][case]
    return shown[door][case]["answer"]


def check(answer: dict[str, Any], theirs: list[Any], end: str) -> None:
    """That an answer is what `/v1/classify` gives."""
    count, best = len(theirs), theirs[0]["outputs"]
    assert answer["shapes"]["label"] == answer["shapes"]["score"] == [count, len(best)]
    for row, one in enumerate(theirs):
        at = row * len(best)
        assert answer["score"][at] == pytest.approx(one["outputs"][0]["score"], abs=0.01)
        # Near a tie the rest of the noise decides.
        if one["outputs"][0]["score"] - one["outputs"][1]["score"] > 0.02:
            assert answer["label"][at] == one["outputs"][0]["label"]
    assert ("channel_uses" in answer) is (end == "edge")
    if end == "edge":
        assert answer["channel_uses"] == [one["link"]["channel_uses"] for one in theirs]
        assert answer["tokens"] == [one["link"]["tokens"] for one in theirs]
        assert answer["policy"] == ["none"] * count


@pytest.mark.parametrize("door", DOORS)
def test_fifty_images_have_the_labels_of_v1(shown: dict[str, Any], theirs: list[Any], end: str, door: str) -> None:
    answer = answer_of(shown, door, "many")
    check(answer, theirs[:50], end)
    assert len({one["outputs"][0]["label"] for one in theirs[:50]}) > 1
    assert (answer["id"], answer["version"]) == ("50", load_bundle("cifar10").digest)


@pytest.mark.parametrize("door", DOORS)
def test_questions_have_the_answers_of_v1(shown: dict[str, Any], theirs: list[Any], door: str) -> None:
    answer = answer_of(shown, door, "questions")
    assert answer["shapes"]["answer"] == answer["shapes"]["score"] == [3]
    assert answer["answer"] == [one["outputs"][0]["answer"] for one in theirs[50:]]


@pytest.mark.parametrize("door", DOORS)
def test_every_form_is_one(shown: dict[str, Any], theirs: list[Any], end: str, door: str) -> None:
    cases = ["pixels", "parts", "gzip", "deflate"] + (["json in"] if door == "http" else [])
    for case in cases:
        check(answer_of(shown, door, case), theirs[:3], end)
    for answer in answer_of(shown, door, "async"):
        check(answer, theirs[:3], end)
    if door == "http":
        answer = answer_of(shown, door, "json")
        assert set(answer["shapes"]) == {"label", "score"}
        assert answer["label"][0] == theirs[0]["outputs"][0]["label"]
    classes = answer_of(shown, door, "classes")
    assert classes["shapes"] == {"score": [3, 2]}
    score, index, label = classes["score"][0].split(":")
    assert label == load_bundle("cifar10").labels[int(index)] == theirs[0]["outputs"][0]["label"]
    assert float(score) == pytest.approx(theirs[0]["outputs"][0]["score"], abs=0.01)


@pytest.mark.parametrize("door", DOORS)
def test_health_and_metadata(shown: dict[str, Any], end: str, door: str) -> None:
    assert shown[door]["live"] is True
    assert f"thinwire-{end}" in answer_of(shown, door, "metadata")
    model = answer_of(shown, door, "model")
    for word in ("easy-vqa", load_bundle("easy-vqa").digest, "image", "pixels", "question", "answer", "score"):
        assert word in model
    assert ("channel_uses" in model) is (end == "edge")


@pytest.mark.parametrize("door", DOORS)
def test_errors_say_what_is_wrong(shown: dict[str, Any], end: str, door: str) -> None:
    no_policy = ("400", "INVALID_ARGUMENT", "policy 'p-nope': the cloud has no link")
    if end == "edge":
        no_policy = ("404", "NOT_FOUND", "p-nope")
    expected = {
        "no model": ("404", "NOT_FOUND", "no model 'nope' here; there is cifar10, easy-vqa"),
        "no version": ("404", "NOT_FOUND", "model 'cifar10' has the version"),
        "no image": ("400", "INVALID_ARGUMENT", "image 1: 8 bytes that are not an image"),
        "no question": ("400", "INVALID_ARGUMENT", "expected the input 'question'"),
        "no parameter": ("400", "INVALID_ARGUMENT", "parameter 'topk': not known here"),
        "no policy": no_policy,
        "async error": ("404", "NOT_FOUND", "no model 'nope' here"),
    }
    for case, (status, code, words) in expected.items():
        error = shown[door][case]
        assert words in error.get("error", ""), (case, error)
        assert error["status"] == (status if door == "http" else f"StatusCode.{code}"), (case, error)
    # Before its time is up, or because that is less than the queue takes.
    late = ("504", "429") if door == "http" else ("StatusCode.DEADLINE_EXCEEDED", "StatusCode.RESOURCE_EXHAUSTED")
    assert shown[door]["no time"]["status"] in late


def test_stale_headers_are_no_failure_of_ours(shown: dict[str, Any]) -> None:
    assert (shown["http"]["stale"]["status"], "gzip" in shown["http"]["stale"]["error"]) == ("400", True)


def test_a_stream_goes_on(shown: dict[str, Any], theirs: list[Any], end: str) -> None:
    first, second, third = shown["grpc"]["stream"]
    assert (first["answer"]["id"], third["answer"]["id"]) == ("r0", "r2")
    check(third["answer"], theirs[:3], end)
    assert second["error"].startswith("request 'r1': no model 'nope' here")


@pytest.mark.parametrize("door", ["http.aio", "grpc.aio"])
def test_asyncio(shown: dict[str, Any], theirs: list[Any], end: str, door: str) -> None:
    assert shown[door]["live"] is True
    assert "cifar10" in shown[door]["model"]
    plain, compressed, wrong = shown[door]["answers"]
    check(plain["answer"], theirs[:3], end)
    check(compressed["answer"], theirs[:3], end)
    assert "no model 'nope' here" in wrong["error"]


def test_the_example_of_the_guide_prints_what_is_shown(testbed: LocalTestbed) -> None:
    found = blocks(USE)
    (at,) = [number for number, block in enumerate(found) if "import tritonclient" in block.text]
    script = found[at].text.replace("127.0.0.1:8080", f"127.0.0.1:{testbed.ports.edge_rest}")
    python = Path(os.environ["THINWIRE_KSERVE_CLIENT"]).resolve() / "bin/python"
    done = subprocess.run([python, "-c", script], cwd=ROOT, env={}, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout == found[at + 1].text
