import asyncio
import secrets
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cloud.answerer import Answer
from cloud.classification import Classification, remembered
from cloud.metrics import CloudMetrics
from cloud.servicer import SemanticLinkServicer
from cloud.task import Batching
from tests.cloud.speech_server import speaking_fixture, speech_fixture  # noqa: F401
from tests.cloud.vqa_server import running_fixture, served_fixture  # noqa: F401
from thinwire import rpc
from thinwire.bundle import Bundle, Codec, Language, Merging
from thinwire.errors import InvalidFrameError, ThinwireError, UnavailableError
from thinwire.frames import pack_symbols
from thinwire.images import Preprocessing
from thinwire.v1 import link_pb2, link_pb2_grpc

POISON = 99.0


class FakeClassifier:
    """Logits that tell what reached the model; refuses to be entered twice; waits while ``gate`` is closed."""

    def __init__(self):
        self.frame_batches = []
        self.image_batches = []
        self.threads = set()
        self.runs = 0
        self.gate = threading.Event()
        self.gate.set()
        self._inside = threading.Lock()

    def _enter(self):
        assert self._inside.acquire(blocking=False), "the model was entered twice"
        self.runs += 1
        self.threads.add(threading.current_thread())
        assert self.gate.wait(60), "the test left the gate closed"

    def classify_frames(self, frames):
        self._enter()
        try:
            self.frame_batches.append([frame.symbols.shape for frame in frames])
            if any(np.mean(frame.symbols.real) == POISON for frame in frames):
                raise ValueError("a secret of the model")
            return np.array([self._describe(frame) for frame in frames], dtype=np.float32)
        finally:
            self._inside.release()

    @staticmethod
    def _describe(frame):
        mean = np.mean(frame.symbols)
        return [mean.real, mean.imag, frame.noise_variance, *frame.symbols.shape, 0.0, -1.0]

    def classify_images(self, pixels):
        self._enter()
        try:
            self.image_batches.append(pixels.shape)
            assert pixels.dtype == np.uint8
            logits = np.zeros((len(pixels), 7), dtype=np.float32)
            logits[:, :3] = pixels.mean(axis=(1, 2))
            return logits
        finally:
            self._inside.release()


@pytest.fixture(scope="session")
def classifier_factory():
    return FakeClassifier


@pytest.fixture
def classifier():
    fake = FakeClassifier()
    yield fake
    # Whatever a failed test left waiting must not hold up the others.
    fake.gate.set()


@pytest.fixture(scope="session")
def bundle():
    return Bundle(
        name="fake",
        task="classify",
        model={"name": "fake"},
        split_layer=2,
        depth=2,
        width=4,
        patches=16,
        prefix_tokens=1,
        labels=("red", "green", "blue", "tall", "wide", "nought", "less"),
        preprocessing=Preprocessing(8, 1.0, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        merging=Merging(),
        codec=Codec(hidden=8, max_symbols_per_token=8, rates=(2, 4, 8), snr_db=(0.0, 20.0)),
        files={},
        folder=Path("nowhere"),
    )


@pytest.fixture(scope="session")
def make_frame(bundle):
    def make(value=1.0, tokens=3, symbols_per_token=4, **fields):
        symbols = np.full((tokens, symbols_per_token), value, dtype=np.complex64)
        defaults = {
            "link_id": "test",
            "request_id": secrets.token_hex(16),
            "task": "classify",
            "bundle_digest": bundle.digest,
            "policy_id": "p1",
            "tokens": tokens,
            "symbols_per_token": symbols_per_token,
            "symbols": pack_symbols(symbols),
            "want_logits": True,
        }
        return link_pb2.Frame(**defaults | fields)

    return make


@pytest.fixture(scope="session")
def until():
    async def wait(condition):
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.002)

    return wait


MAX_QUEUE = 4


@pytest.fixture
async def task(bundle, classifier):
    task = Classification(bundle, classifier, Batching(8, MAX_QUEUE, CloudMetrics()), remembered())
    yield task
    classifier.gate.set()
    await task.close()


@pytest.fixture
def batcher(task):
    return task.frames


@pytest.fixture
async def stub(bundle, task):
    server = rpc.Server([])
    link_pb2_grpc.add_SemanticLinkServicer_to_server(SemanticLinkServicer([task]), server.grpc_server)
    port = await server.start("127.0.0.1:0")
    async with rpc.open_channel(f"127.0.0.1:{port}") as channel:
        yield link_pb2_grpc.SemanticLinkStub(channel)
    await server.stop(0.0)


@pytest.fixture
def occupy(stub, classifier, make_frame, until):
    """Keep the model busy with a frame until the gate opens."""

    async def start():
        classifier.gate.clear()
        runs = classifier.runs
        call = asyncio.ensure_future(stub.Infer(make_frame()))
        await until(lambda: classifier.runs > runs)
        return call

    return start


@pytest.fixture
def waiting(batcher):
    return lambda: len(batcher._waiting)


class FakePrefix:
    def __init__(self, name, nbytes=100):
        self.name, self.nbytes = name, nbytes


class FakeAnswerer:
    """Answers with words that tell what reached the model; each step of an answer waits while ``gate`` is closed."""

    def __init__(self):
        self.viewed = []
        self.asked = []
        self.steps = 0
        self.gate = threading.Event()
        self.gate.set()

    def view_frames(self, frames):
        self.viewed.extend(frame.symbols.shape for frame in frames)
        return [self._view(frame) for frame in frames]

    @staticmethod
    def _view(frame):
        mean = np.mean(frame.symbols.real)
        return InvalidFrameError("no finite answer") if mean == POISON else FakePrefix(f"{mean:g}")

    def view_images(self, pixels):
        self.viewed.extend(image.shape for image in pixels)
        return [FakePrefix("rgb"[int(image.mean(axis=(0, 1)).argmax())]) for image in pixels]

    def answer(self, questions):
        self.asked.append([question.text for question in questions])
        if any(question.text == "crash" for question in questions):
            raise ValueError("a secret of the model")
        return [self._answer(question) for question in questions]

    def _answer(self, question):
        asked = question.generation
        if question.text == "nan":
            return ThinwireError("no finite answer")
        words = [question.prefix.name, question.text.upper(), f"t{asked.temperature:g}", f"p{asked.top_p:g}"]
        words = (words + ["more"] * asked.max_new_tokens)[: asked.max_new_tokens]
        for count in range(len(words)):
            assert self.gate.wait(60), "the test left the gate closed"
            if question.given_up.is_set():
                return UnavailableError("nobody waits")
            self.steps += 1
            question.on_text(" ".join(words[: count + 1]))
        return Answer(" ".join(words), 0.5, 7, len(words), "length")


@pytest.fixture(scope="session")
def answerer_factory():
    return FakeAnswerer


@pytest.fixture(scope="session")
def vqa_bundle(bundle):
    return replace(bundle, name="fake-vqa", task="vqa", labels=(), language=Language("x/y", None, "<image>{question}"))


@pytest.fixture(scope="session")
def make_vqa_frame(vqa_bundle, make_frame):
    def make(value=1.0, question="", **fields):
        defaults = {"bundle_digest": vqa_bundle.digest, "task": "vqa", "want_logits": False, "question": question}
        return make_frame(value, **defaults | fields)

    return make


class Doubler:
    """Doubles numbers; raises what it is given; waits while ``gate`` is closed."""

    def __init__(self):
        self.batches = []
        self.started = 0
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, items):
        self.started += 1
        assert self.gate.wait(60)
        self.batches.append(list(items))
        for item in items:
            if isinstance(item, BaseException):
                raise item
        return [2 * item for item in items]


@pytest.fixture
def double():
    run = Doubler()
    yield run
    run.gate.set()
