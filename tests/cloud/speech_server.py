"""A server of the task "transcription" around a tiny Whisper that can be held up, and what is asked of it."""

import threading
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
from tokenizers.pre_tokenizers import ByteLevel

from cloud.server import CloudServer, Settings
from tests.sounds import wav
from tests.speech_bundle import make_speech_bundle, make_transcriber
from thinwire import rpc
from thinwire.v1 import link_pb2_grpc

RATE = 16_000
SEED = 7


class Held:
    """A transcriber that notes what it gets, and writes nothing while ``gate`` is closed."""

    def __init__(self, inner):
        self.inner = inner
        self.gate = threading.Event()
        self.gate.set()
        self.clear()

    def clear(self):
        self.frames, self.audio, self.batches = [], [], []

    def hear_frames(self, frames):
        self.frames.extend(frame.symbols.shape for frame in frames)
        return self.inner.hear_frames(frames)

    def hear_audio(self, clips):
        self.audio.extend(len(clip) for clip in clips)
        return self.inner.hear_audio(clips)

    def transcribe(self, utterances):
        self.batches.append(list(utterances))
        assert self.gate.wait(60), "the test left the gate closed"
        return self.inner.transcribe(utterances)


@dataclass
class SpeechServed:
    """The server, and who speaks to it."""

    client: httpx.AsyncClient
    stub: Any
    model: Held
    server: CloudServer
    bundle: Any

    async def send(self, data: bytes | None, name: str = "clip.wav", **fields: Any) -> httpx.Response:
        """A form with a file and texts; by default one try, which is quick."""
        parts = [] if data is None else [("file", (name, data))]
        fields = {"temperature": "0.5"} | fields
        parts += [(name, (None, str(value))) for name, value in fields.items()]
        return await self.client.post("/v1/audio/transcriptions", files=parts)

    async def again(self, frame_id: str, **fields: Any) -> httpx.Response:
        """A held frame, in JSON; likewise."""
        return await self.client.post("/v1/audio/transcriptions", json={"id": frame_id, "temperature": 0.5, **fields})

    @property
    def task(self) -> Any:
        """What becomes of requests."""
        return self.server.tasks[0]


@pytest_asyncio.fixture(name="speaking", loop_scope="module", scope="module")
async def speaking_fixture():
    model, bundle = Held(make_transcriber()), make_speech_bundle()
    # Short transcripts are quick.
    model.inner.speech._context = 24
    # And without bytes that are no characters alone.
    suppressed = model.inner.speech.model.generation_config.suppress_tokens
    suppressed += [token for token, byte in enumerate(sorted(ByteLevel.alphabet())) if ord(byte) > 126]
    server = CloudServer([(bundle, model)], Settings("127.0.0.1:0", rest_port=0))
    await server.start()
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as client,
        rpc.open_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        yield SpeechServed(client, link_pb2_grpc.SemanticLinkStub(channel), model, server, bundle)
    model.gate.set()
    await server.stop()


@pytest.fixture(name="speech")
def speech_fixture(speaking, monkeypatch):
    # What is drawn at random is the same for all.
    monkeypatch.setattr("cloud.transcriptions.secrets", SimpleNamespace(randbits=lambda bits: SEED))
    speaking.model.clear()
    yield speaking
    speaking.model.gate.set()


def noise(samples, seed=0):
    """A row of noise that comes and goes, as int16 would hold it."""
    random = np.random.default_rng(seed)
    row = random.normal(0, 0.2, samples) * np.sin(np.linspace(0, random.uniform(3, 20), samples))
    return np.round(32_767 * row.clip(-0.9, 0.9)) / 32_767


def clip(samples, seed=0):
    """The same as a file."""
    return wav(noise(samples, seed), RATE)


def heard(samples, seed=0):
    """The same as it is decoded."""
    return (np.round(32_767 * noise(samples, seed)) / 32_768).astype(np.float32)
