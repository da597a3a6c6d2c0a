"""What the three processes leave behind from their start to their end: logs of JSON alone, and nothing at home."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from deploy.testbed import LocalTestbed, Ports
from tests.parts import random_pixels

ROOT = Path(__file__).parents[2]
PICTURE = (ROOT / "docs" / "triangle.png").read_bytes()


def damaged() -> bytes:
    """A TIFF that libtiff, which writes to standard error by itself, cannot decode."""
    stream = io.BytesIO()
    Image.fromarray(random_pixels(1)[0]).save(stream, "TIFF", compression="tiff_lzw")
    whole = bytearray(stream.getvalue())
    whole[100:400] = b"\xff" * 300
    return bytes(whole)


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home, and the logs beside it, of processes that served the shipped bundles and have ended."""
    folder = tmp_path_factory.mktemp("start-to-stop")
    home, logs = folder / "home", folder / "logs"
    home.mkdir()
    logs.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        # As for a new user: without what this one has chosen, or `tests` has, by importing `thinwire`.
        for name in os.environ:
            if name.startswith(("XDG_", "HF_", "ORT_", "TORCH", "MPL")):
                patch.delenv(name)
        patch.setenv("HOME", str(home))
        with LocalTestbed(["cifar10", "easy-vqa"], Ports.free(), log_folder=logs) as testbed:
            for url in (testbed.edge_url, testbed.cloud_url):
                asked = httpx.post(f"{url}/v1/vqa", files={"image": PICTURE}, data={"question": "what?"}, timeout=60)
                assert asked.status_code == 200
                assert httpx.post(f"{url}/v1/classify", files={"image": PICTURE}, timeout=60).status_code == 200
                assert httpx.post(f"{url}/v1/classify", files={"image": damaged()}, timeout=60).status_code == 422
    yield folder


@pytest.mark.parametrize("name", ["edge", "channel", "cloud"])
def test_every_line_of_a_log_is_json(folder: Path, name: str) -> None:
    lines = [json.loads(line) for line in (folder / "logs" / f"{name}.log").read_text().splitlines()]
    assert lines
    assert all(line["service"] == name for line in lines)
    told = [line["message"] for line in lines if line["logger"] == "stderr"]
    # Nothing but what libtiff has to say, and no bar of progress.
    assert len(told) == (name != "channel"), told
    assert "color_message" not in {field for line in lines for field in line}


def test_nothing_is_left_at_home(folder: Path) -> None:
    assert list((folder / "home").rglob("*")) == []
