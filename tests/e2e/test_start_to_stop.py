"""The three processes of the shipped bundles, from their start to their end.

Their logs are JSON alone, nothing is left at home, and no page names another host; HEAD is wherever GET is.
"""

import io
import json
import os
import re
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from PIL import Image

from deploy.ports import Ports
from deploy.testbed import LocalTestbed
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


class Left(NamedTuple):
    """What processes that have ended left behind, and what each path that can be read answered to GET and to HEAD."""

    home: Path
    logs: Path
    read: dict[str, tuple[httpx.Response, httpx.Response]]


def read_all(url: str) -> dict[str, tuple[httpx.Response, httpx.Response]]:
    """Every path of an OpenAPI document that can be read, and those that the document leaves out."""
    with httpx.Client(base_url=url, timeout=60) as client:
        paths = [path for path, item in client.get("/openapi.json").json()["paths"].items() if "get" in item]
        paths += ["/docs", "/openapi.json", "/none"]
        return {f"{url}{path}": (client.get(path), client.head(path)) for path in paths}


@pytest.fixture(name="left", scope="module")
def left_fixture(tmp_path_factory: pytest.TempPathFactory) -> Left:
    """Of processes that served the shipped bundles."""
    folder = tmp_path_factory.mktemp("start-to-stop")
    home, logs = folder / "home", folder / "logs"
    home.mkdir()
    logs.mkdir()
    read = {}
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
                read |= read_all(url)
    return Left(home, logs, read)


@pytest.mark.parametrize("name", ["edge", "channel", "cloud"])
def test_every_line_of_a_log_is_json(left: Left, name: str) -> None:
    lines = [json.loads(line) for line in (left.logs / f"{name}.log").read_text().splitlines()]
    assert lines
    assert all(line["service"] == name for line in lines)
    told = [line["message"] for line in lines if line["logger"] == "stderr"]
    # Nothing but what libtiff has to say, and no bar of progress.
    assert len(told) == (name != "channel"), told
    assert "color_message" not in {field for line in lines for field in line}


def test_nothing_is_left_at_home(left: Left) -> None:
    assert list(left.home.rglob("*")) == []


def test_head_is_wherever_get_is(left: Left) -> None:
    assert len(left.read) > 12
    for url, (got, asked) in left.read.items():
        assert asked.content == b"", url
        assert asked.status_code == got.status_code, url
        # The counters of /metrics go on.
        varying = {"date", "x-request-id"} | ({"content-length"} if url.endswith("/metrics") else set())
        headers = [{name: value for name, value in one.headers.items() if name not in varying} for one in (got, asked)]
        assert headers[0] == headers[1], url
        assert int(asked.headers["content-length"]) > 0


def test_no_page_names_another_host(left: Left) -> None:
    found = {url: re.findall(r"(?:https?:)?//[\w.-]+\.\w+", got.text) for url, (got, _) in left.read.items()}
    assert not any(found.values()), found
    pages = [got.text for got, _ in left.read.values() if got.headers["content-type"].startswith("text/html")]
    assert len(pages) == 2
    links = {link for page in pages for link in re.findall(r'\s(?:src|href|action)\s*=\s*"([^"]*)"', page)}
    assert "openapi.json" in links
    assert {link for link in links if not link.startswith("#")} == {"openapi.json"}
