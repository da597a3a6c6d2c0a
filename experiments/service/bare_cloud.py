"""A bare ``grpc.aio`` server around a bundle's classifier: the bound of what a cloud can do on a machine.

``python -m experiments.service.bare_cloud HOST:PORT BUNDLE`` answers frames with their best class until it is
terminated. What waits when the model is free runs together on a thread of its own; that is all. It checks, remembers,
counts, logs and traces nothing, and knows no deadlines.
"""

import asyncio
import sys
from contextlib import suppress
from functools import partial

import grpc
import numpy as np
from numpy.typing import NDArray

from cloud.scheduling import ModelThread
from deploy.cli.engines import cloud_classifier
from experiments.service.bare_echo import serve_bare
from experiments.service.callers import INFER, to_received
from thinwire.bundle import Bundle, load_bundle
from thinwire.cores import model_threads
from thinwire.equalise import ReceivedTokens
from thinwire.v1 import link_pb2

MAX_BATCH = 32


class BareCloud:
    """Batches, and nothing else.

    Args:
        bundle: whose classifier runs.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._labels = bundle.labels
        self._classifier = cloud_classifier(bundle, "auto", model_threads())
        self._thread = ModelThread()
        self._waiting: list[tuple[ReceivedTokens, asyncio.Future[int]]] = []
        self._is_running = False

    async def infer(self, message: bytes, _: object) -> bytes:
        """One serialised frame, one serialised result."""
        frame = link_pb2.Frame.FromString(message)
        best: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((to_received(frame), best))
        self._run()
        result = link_pb2.Result(link_id=frame.link_id, request_id=frame.request_id)
        result.outputs.add(label=self._labels[await best])
        return result.SerializeToString()

    def _run(self) -> None:
        if self._waiting and not self._is_running:
            self._is_running = True
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            frames = [frame for frame, _ in batch]
            answers = [best for _, best in batch]
            self._thread.run(partial(self._classifier.classify_frames, frames), partial(self._ran, answers))

    def _ran(self, answers: list[asyncio.Future[int]], logits: NDArray[np.float32] | Exception) -> None:
        if isinstance(logits, Exception):
            raise logits
        for answer, best in zip(answers, logits.argmax(axis=1).tolist(), strict=True):
            if not answer.done():
                answer.set_result(best)
        self._is_running = False
        self._run()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        _bare = BareCloud(load_bundle(sys.argv[2]))
        asyncio.run(serve_bare(sys.argv[1], INFER, grpc.unary_unary_rpc_method_handler(_bare.infer)))
