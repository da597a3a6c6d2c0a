"""OpenAI's client for Python on audio, as people have it, against an edge with a tiny Whisper."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deploy.ports import Ports
from deploy.testbed import LocalTestbed
from tests.cloud.speech_server import clip
from tests.speech_bundle import write_whole_speech_bundle

pytestmark = [pytest.mark.clients, pytest.mark.timeout(300)]
SCRIPT = Path(__file__).with_name("transcribing.py")


@pytest.fixture(name="shown", scope="module")
def shown_fixture(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the client shows of each case."""
    if "THINWIRE_CLIENTS" not in os.environ:
        pytest.skip("THINWIRE_CLIENTS names no folder with OpenAI's clients")
    home = tmp_path_factory.mktemp("home")
    bundle = write_whole_speech_bundle(home / "speech")
    file = home / "clip.wav"
    file.write_bytes(clip(24_000))
    python = Path(os.environ["THINWIRE_CLIENTS"]).resolve() / "venv/bin/python"
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    with LocalTestbed([str(bundle.folder)], Ports.free(), log_folder=home) as testbed:
        asked = json.dumps({"url": f"{testbed.edge_url}/v1", "file": str(file)})
        done = subprocess.run(
            [python, SCRIPT], input=asked, env=environment, cwd=home, capture_output=True, text=True, timeout=200
        )
    assert done.returncode == 0, done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


def answer_of(shown: dict[str, Any], case: str) -> Any:
    assert "answer" in shown[case], shown[case]
    return shown[case]["answer"]


def test_answers(shown: dict[str, Any]) -> None:
    whole = answer_of(shown, "whole")
    assert (whole["kind"], whole["language"], float(whole["duration"])) == ("TranscriptionVerbose", "english", 1.5)
    assert "".join(text for _, _, text in whole["segments"]).strip() == whole["text"]
    # Of two windows.
    assert 0 < whole["uses"] <= 60
    short = answer_of(shown, "short")
    assert (short["kind"], short["seconds"]) == ("Transcription", 1.5)
    assert isinstance(answer_of(shown, "text"), str)
    srt, vtt = answer_of(shown, "subtitles")
    assert srt.startswith("1\n00:00:0")
    assert vtt.startswith("WEBVTT\n")


def test_a_stream(shown: dict[str, Any]) -> None:
    stream = answer_of(shown, "stream")
    assert set(stream["kinds"][:-1]) <= {"TranscriptionTextDeltaEvent"}
    assert stream["kinds"][-1] == "TranscriptionTextDoneEvent"
    assert "".join(stream["deltas"]) == stream["text"]


def test_errors(shown: dict[str, Any]) -> None:
    file, budget = shown["wrong_file"]["error"], shown["wrong_budget"]["error"]
    assert (file["status"], file["code"], file["param"]) == (422, "invalid_request", "file")
    assert (budget["status"], budget["code"], budget["param"]) == (422, "budget_not_met", "budget")
    assert "under the cost of one token" in budget["message"]
