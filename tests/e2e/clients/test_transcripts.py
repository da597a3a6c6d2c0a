"""Transcripts as OpenAI's client for Python reads them: nothing it knows is missing or of another type."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from thinwire.audio import Segment, Transcript, Word
from thinwire.audio.transcript import delta_event, done_event, to_json, to_verbose_json

pytestmark = pytest.mark.clients
# The client builds its models without looking; this looks.
CHECK = """
import json, sys
from openai.types import audio
for name, body in json.load(sys.stdin):
    model = getattr(audio, name).model_validate(body, strict=True)
    assert not model.model_extra or set(model.model_extra) == {"task"}, model.model_extra
    print(name)
"""


def test_the_client_reads_all_of_it() -> None:
    if "THINWIRE_CLIENTS" not in os.environ:
        pytest.skip("THINWIRE_CLIENTS names no folder with OpenAI's clients")
    spoken = Transcript((Segment(0.0, 1.5, " One two", tokens=(1, 2)),), "english", 2.0, (Word(0.0, 0.5, "One"),))
    bodies = [
        ("Transcription", to_json(spoken)),
        ("TranscriptionVerbose", to_verbose_json(spoken, ("segment", "word"))),
        ("TranscriptionTextDeltaEvent", delta_event(" One")),
        ("TranscriptionTextDoneEvent", done_event("One two")),
    ]
    python = Path(os.environ["THINWIRE_CLIENTS"]).resolve() / "venv/bin/python"
    done = subprocess.run(
        [python, "-c", CHECK], input=json.dumps(bodies), capture_output=True, text=True, timeout=100, check=False
    )
    assert done.stdout.split() == [name for name, _ in bodies], done.stderr
