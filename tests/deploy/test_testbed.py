"""The three processes, started by the code behind `thinwire up` and `thinwire demo`."""

import io
import json
import os
import subprocess
import sys
from dataclasses import replace

import httpx
import pytest
from PIL import Image

from deploy.demo import PHOTOGRAPHS, as_text, images_for, photographs, run_demo
from deploy.ports import Ports
from deploy.testbed import LocalTestbed
from tests.parts import random_pixels
from thinwire.bundle import load_bundle
from thinwire.errors import InvalidRequestError, UnavailableError
from thinwire.images import MAX_BYTES, to_png


def test_the_demo_classifies_under_every_budget(tmp_path):
    (tmp_path / "image.png").write_bytes(to_png(random_pixels(1)[0]))
    rows, drawn = run_demo([load_bundle("cifar10")], list(photographs(tmp_path)), 10.0)
    budgets = [row["budget"] for row in rows]
    assert budgets[0] is None
    assert len(budgets) == 5
    for row in rows:
        answer = row["answer"]
        assert answer["timings_ms"]["total"] > 0
        assert as_text(row)["tokens"] == str(answer["link"]["tokens"])
        if row["budget"] is not None:
            assert 0 < answer["link"]["channel_uses"] <= row["budget"]
        assert row["plain"]["link"] is None
        assert as_text(row)["plain model"].startswith(row["plain"]["outputs"][0]["label"])
    assert "explain" not in rows[0]["answer"]
    assert drawn.text.startswith("image.png by cifar10 under ")
    assert Image.open(io.BytesIO(drawn.png)).size == (448, 448)


def test_a_bundle_without_cats_gets_all_photographs():
    shipped = load_bundle("cifar10")
    assert [name for name, _ in images_for(shipped, None)] == ["chelsea.png"]
    other = replace(shipped, labels=("church", "parachute"))
    assert [name for name, _ in images_for(other, None)] == list(PHOTOGRAPHS)
    own = [("a", b"a")]
    assert images_for(shipped, own) is images_for(other, own) is own


def test_speech_needs_a_sound():
    shipped = load_bundle("cifar10")
    with pytest.raises(InvalidRequestError, match="bundle spoken writes down speech: --sound names a file"):
        run_demo([replace(shipped, name="spoken", task="transcription")], None, 10.0)


def test_a_transcript_stands_beside_the_plain_models():
    link = {"tokens": 70, "channel_uses": 560}
    times = dict.fromkeys(("edge", "channel", "cloud"), 1.0)
    answer = {"text": "one two", "policy": None, "link": link, "cost": {"edge_gmacs": 2.0}, "timings_ms": times}
    row = {"sound": "clip.wav", "budget": 600, "answer": answer, "plain": {"text": "one, two"}}
    shown = as_text(row)
    assert [shown[name] for name in ("sound", "answer", "plain model")] == ["clip.wav", "'one two'", "'one, two'"]
    assert [shown[name] for name in ("budget", "policy", "tokens", "uses")] == ["600 uses", "several", "70", "560"]


def test_a_dead_process_is_told_and_the_edge_says_that_it_is_not_ready(tmp_path):
    with LocalTestbed(["cifar10"], Ports.free(), log_folder=tmp_path) as testbed:
        body = {"inputs": "aGVsbG8="}
        assert httpx.post(f"{testbed.edge_url}/v1/classify", json=body, timeout=60).status_code == 422
        assert httpx.get(f"{testbed.cloud_url}/v1/models", timeout=60).json()["models"][0]["name"] == "cifar10"
        channel = testbed._processes["channel"]
        channel.kill()
        channel.wait()
        with pytest.raises(UnavailableError, match="channel process ended"):
            testbed.check()
        answer = httpx.post(
            f"{testbed.edge_url}/v1/classify",
            content=to_png(random_pixels(1)[0]),
            headers={"content-type": "image/png"},
            timeout=60,
        )
        assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
        assert "retry-after" in answer.headers
    lines = (tmp_path / "edge.log").read_text().splitlines()
    assert all(json.loads(line)["service"] == "edge" for line in lines)


def test_a_folder_without_images_is_refused(tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InvalidRequestError, match="no images in"):
            list(photographs(folder))
    (tmp_path / ".DS_Store").write_bytes(b"Bud1")
    with pytest.raises(InvalidRequestError, match="no images in"):
        list(photographs(tmp_path))
    assert "left out" in capsys.readouterr().err


def test_what_is_no_image_in_a_folder_is_told_and_left_out(tmp_path, capsys):
    whole = to_png(random_pixels(1)[0])
    files = {".DS_Store": b"Bud1", "a": whole, "b.png": whole[:60], "c.mp4": b"\0" * (MAX_BYTES + 9), "d.png": whole}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "e.png").mkdir()
    assert list(photographs(tmp_path)) == [("a", whole), ("d.png", whole)]
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2].partition(": ")[0] for line in lines] == [
        f"left out {tmp_path / name}" for name in (".DS_Store", "b.png", "c.mp4")
    ]
    assert "4 bytes that are not an image" in lines[0]
    assert "the limit is" in lines[2]


def test_the_command_starts_without_torch():
    code = "import sys, deploy.cli.main; deploy.cli.main.parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0


def test_the_channel_starts_with_no_more_than_its_own_extra():
    lacking = ["fastapi", "httpx", "onnxruntime", "PIL", "safetensors", "timm", "torch", "transformers", "uvicorn"]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({lacking}))\n"
        "import deploy.cli.main, channel.server, deploy.healthcheck\n"
        "deploy.cli.main.parser()"
    )
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
