import asyncio
import secrets
import threading
from pathlib import Path

import numpy as np
import pytest

from cloud.classification import Classification
from cloud.servicer import SemanticLinkServicer
from cloud.task import Batching
from thinwire import rpc
from thinwire.bundle import Bundle, Codec, Merging
from thinwire.frames import pack_symbols
from thinwire.images import Preprocessing
from thinwire.metrics import CloudMetrics
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
        assert self.gate.wait(10), "the test left the gate closed"

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
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.002)

    return wait


MAX_QUEUE = 4


@pytest.fixture
async def task(bundle, classifier):
    task = Classification(bundle, classifier, Batching(8, 0.0, MAX_QUEUE, CloudMetrics()))
    yield task
    classifier.gate.set()
    await task.close()


@pytest.fixture
def batcher(task):
    return task.frames


@pytest.fixture
async def stub(bundle, task):
    server = rpc.Server([])
    link_pb2_grpc.add_SemanticLinkServicer_to_server(SemanticLinkServicer(bundle, task), server.grpc_server)
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
