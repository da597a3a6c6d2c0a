"""What users send by mistake or in malice, to a running edge: each gets its error, and the next request works."""

import base64
import json
import shutil
from dataclasses import replace

import httpx
import numpy as np
import pytest
from PIL import Image

from deploy.ports import Ports
from deploy.testbed import LocalTestbed
from policies.front import Front
from policies.fronts import Fronts
from tests.e2e.processes import unharmed
from tests.parts import random_pixels
from tests.thinwire.images.test_hostile import png as png_by_hand
from tests.thinwire.test_images import ORIENTATION, colours, encode
from thinwire.bundle import FRONT
from thinwire.images import to_png

PICTURE = to_png(random_pixels(1)[0])
RAW = {"headers": {"content-type": "image/png"}}


def asking(parameters: str, image: bytes = PICTURE) -> dict[str, object]:
    """A request with parameters as they are written, since some are no JSON that a library would write."""
    body = f'{{"inputs": "{base64.b64encode(image).decode()}", "parameters": {parameters}}}'
    return {"content": body, "headers": {"content-type": "application/json"}}


def budget(text: str) -> dict[str, object]:
    return asking(f'{{"budget": {text}}}')


BAD = {
    "no image": ({"content": b"hello", **RAW}, 422, "invalid_image"),
    "a JPEG cut short": ({"content": encode(colours(), "JPEG")[:300], **RAW}, 422, "invalid_image"),
    "a bomb": ({"content": png_by_hand(50_000, 50_000), **RAW}, 413, "payload_too_large"),
    "20 MB of zeros": ({"content": b"\0" * 20_000_000, **RAW}, 413, "payload_too_large"),
    "unknown policy": (asking('{"policy": "p-0000000000"}'), 404, "unknown_policy"),
    "unknown parameter": (asking('{"temperature": 1}'), 422, "invalid_request"),
    "unknown channel": (asking('{"channel": {"model": "pigeon"}}'), 422, "invalid_request"),
    "contradiction": (
        budget('{"channel_uses": 9, "bandwidth_hz": 1000, "airtime_ms": 9}'),
        422,
        "invalid_request",
    ),
    "half a budget": (budget('{"bandwidth_hz": 1000}'), 422, "invalid_request"),
    "under one token": (budget('{"bandwidth_hz": 1, "airtime_ms": 1}'), 422, "budget_not_met"),
    **{
        f"channel_uses {value}": (budget(f'{{"channel_uses": {value}}}'), 422, "invalid_request")
        for value in ("0", "-1", "NaN", "Infinity", "true", '"64"', "1.5", "[64]", "null, null")
    },
    **{
        f"edge_gmacs {value}": (budget(f'{{"edge_gmacs": {value}}}'), 422, "invalid_request")
        for value in ("0", "-1", "NaN", "-Infinity", "1e999", "true", '"1"')
    },
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_gets_its_error_and_the_next_works(testbed, name):
    request, status, code = BAD[name]
    url = f"{testbed.edge_url}/v1/classify"
    with unharmed(testbed), httpx.Client(timeout=60) as client:
        answer = client.post(url, **request)
        assert (answer.status_code, answer.json()["error"]) == (status, code)
        assert answer.headers["content-type"] == "application/problem+json"
        assert client.post(url, content=PICTURE, **RAW).status_code == 200


@pytest.mark.parametrize("cap", [2**63, 10**30])
def test_a_budget_without_bounds_is_no_budget(testbed, cap):
    answer = httpx.post(f"{testbed.edge_url}/v1/classify", timeout=60, **budget(f'{{"channel_uses": {cap}}}'))
    assert answer.status_code == 200


def rotated() -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return exif


UNUSUAL = {
    "CMYK": encode(Image.new("CMYK", (40, 30), (51, 102, 153, 0)), "JPEG"),
    "16 bit": encode(Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50), "PNG"),
    "greyscale": encode(Image.new("L", (40, 30), 77), "JPEG"),
    "palette with alpha": encode(Image.new("P", (40, 30), 1), "PNG", transparency=bytes([51, 128])),
    "rotated": encode(colours(), "JPEG", exif=rotated()),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_unusual_images_are_answered(testbed, kind):
    answer = httpx.post(f"{testbed.edge_url}/v1/classify", content=UNUSUAL[kind], timeout=60, **RAW)
    assert answer.status_code == 200
    assert len(answer.json()["outputs"]) == 5


def test_policies_of_another_bundle_leave_the_running_edge_with_its_own(shipped, tmp_path):
    folder = shutil.copytree(shipped.folder, tmp_path / "bundle")
    path, logs = folder / FRONT, tmp_path / "logs"
    logs.mkdir()
    own = path.read_text()
    fronts = Fronts.load(path, shipped.digest)
    front = fronts.fronts[0]
    others = tuple(replace(measured, bundle_digest="0" * 64) for measured in front.policies)
    with LocalTestbed([str(folder)], Ports.free(), log_folder=logs) as testbed, httpx.Client(timeout=60) as client:

        def served() -> str:
            listed: str = client.get(f"{testbed.edge_url}/v1/policies").json()["digest"]
            return listed

        for bad in (
            json.dumps(Fronts((Front("other", "0" * 64, others),)).to_json()),
            own[:-100],
            own.replace("0.", "0.1", 1),
        ):
            path.write_text(bad)
            assert served() == fronts.digest
            assert client.post(f"{testbed.edge_url}/v1/classify", content=PICTURE, **RAW).status_code == 200
        fewer = Fronts((Front(front.bundle_name, front.bundle_digest, front.policies[:1]),))
        fewer.save(path)
        assert served() == fewer.digest
        gone = client.post(
            f"{testbed.edge_url}/v1/classify", **asking(f'{{"policy": "{front.policies[1].policy.id}"}}')
        )
        assert (gone.status_code, gone.json()["error"]) == (404, "unknown_policy")
    assert (logs / "edge.log").read_text().count("keeping policy fronts") == 3


def test_an_unknown_task_is_not_found(testbed):
    answer = httpx.post(f"{testbed.edge_url}/v1/segment", timeout=60, json={})
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
