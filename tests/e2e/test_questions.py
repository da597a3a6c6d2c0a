"""Questions through three processes: one transmission and one reading of the image, whatever is asked of it.

Beside them the shipped bundle that is split in the middle, so that all of this runs on torch.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.cli.main import main
from deploy.ports import Ports
from deploy.testbed import LocalTestbed
from tests.exposition import outcomes, samples
from tests.llava import write_whole_vqa_bundle
from tests.parts import random_pixels
from thinwire.bundle import Bundle, load_bundle
from thinwire.images import to_png

MIDDLE = load_bundle("cifar10-middle")
QUESTIONS = [f"what is the colour of {word} ?" for word in ("red", "green", "blue", "a", "the")]


@pytest.fixture(scope="module")
def vqa_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_whole_vqa_bundle(tmp_path_factory.mktemp("bundles") / "vqa")


@pytest.fixture(scope="module")
def testbed(vqa_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTestbed]:
    folders = [MIDDLE.name, str(vqa_bundle.folder)]
    with LocalTestbed(folders, Ports.free(), log_folder=tmp_path_factory.mktemp("logs")) as testbed:
        processes = list(testbed._processes.values())
        yield testbed
    assert [process.poll() for process in processes] == [0, 0, 0]


def scraped(url: str) -> str:
    return httpx.get(f"{url}/metrics", timeout=10).text


def test_many_questions_about_one_image_need_one_transmission(
    testbed: LocalTestbed, vqa_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    channel = f"http://127.0.0.1:{testbed.ports.channel_metrics}"
    frames = outcomes(scraped(channel), "thinwire_frames_total").get("ok", 0)
    image = tmp_path / "image.png"
    image.write_bytes(to_png(random_pixels(1)[0]))
    asked = ["--url", testbed.edge_url, "--cloud-url", testbed.cloud_url, "--model", vqa_bundle.name]
    assert main(["vqa", str(image), *QUESTIONS, *asked, "--seed", "7", "--max-new-tokens", "4", "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [answer["question"] for answer in answers] == QUESTIONS
    assert len({answer["id"] for answer in answers}) == 1
    assert answers[0]["link"]["channel_uses"] > 0
    assert all(answer["link"] is None for answer in answers[1:])
    assert outcomes(scraped(channel), "thinwire_frames_total")["ok"] == frames + 1
    cloud = samples(scraped(testbed.cloud_url))
    (prefills,) = (value for name, value in cloud.items() if name.startswith("thinwire_batch_size_count{kind=frame"))
    assert prefills == frames + 1
    # The first question again, where the image already is: it gets the answer that came over the link.
    again = {"inputs": {"question": QUESTIONS[0]}, "parameters": {"max_new_tokens": 4}}
    url = f"{testbed.cloud_url}/v1/frames/{answers[0]['id']}/questions"
    ((said,), (before,)) = (httpx.post(url, json=again, timeout=30).json()["outputs"], answers[0]["outputs"])
    # A score crosses the link in single precision.
    assert (said["answer"], said["score"]) == (before["answer"], pytest.approx(before["score"], rel=1e-6))


def test_both_tasks_are_served_side_by_side(testbed: LocalTestbed, tmp_path: Path) -> None:
    image = to_png(random_pixels(1)[0])
    for url in (testbed.edge_url, testbed.cloud_url):
        models = httpx.get(f"{url}/v1/models", timeout=10).json()["models"]
        assert [model["task"] for model in models] == ["classify", "vqa"]
        content = {"content-type": "image/png"}
        assert httpx.post(f"{url}/v1/classify", content=image, headers=content, timeout=30).status_code == 200
        form = {"data": {"question": QUESTIONS[0]}, "files": {"image": ("a.png", image, "image/png")}}
        assert httpx.post(f"{url}/v1/vqa", **form, timeout=30).json()["outputs"][0].keys() == {"answer", "score"}


def test_a_bundle_that_is_split_in_the_middle_merges_within_a_budget(testbed: LocalTestbed) -> None:
    inputs = base64.b64encode(to_png(random_pixels(1)[0])).decode()

    def ask(url: str, **parameters: object) -> Any:
        answer = httpx.post(f"{url}/v1/classify", json={"inputs": inputs, "parameters": parameters}, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    plain, unmerged = ask(testbed.cloud_url), ask(testbed.edge_url, policy="none")
    within = ask(testbed.edge_url, budget={"channel_uses": MIDDLE.reference.channel_uses // 5})
    assert plain["outputs"][0]["label"] in MIDDLE.labels
    assert unmerged["link"]["channel_uses"] == MIDDLE.reference.channel_uses
    assert 0 < within["link"]["channel_uses"] <= MIDDLE.reference.channel_uses // 5
    assert within["cost"]["edge_gmacs"] < unmerged["cost"]["edge_gmacs"]


def test_a_frame_that_never_came_is_told(
    testbed: LocalTestbed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"{testbed.cloud_url}/v1/frames/{'0' * 32}/questions"
    response = httpx.post(url, json={"inputs": {"question": "?"}}, timeout=10)
    assert (response.status_code, response.json()["error"]) == (404, "unknown_frame")
    assert main(["vqa", str(tmp_path / "none.png"), "?", "--url", testbed.edge_url]) == 1
    assert "cannot read" in capsys.readouterr().err
