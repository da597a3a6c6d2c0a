"""The cloud with a model that does nothing: all that is left is the service.

``python -m experiments.service.stub_cloud HOST:PORT BUNDLE`` serves until it is terminated.
"""

import asyncio
import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cloud.server import Settings, serve
from thinwire import logs
from thinwire.bundle import load_bundle
from thinwire.equalise import ReceivedTokens


class NoModel:
    """The first class, whatever comes; see `cloud.answerer.Classifier`."""

    def __init__(self, classes: int) -> None:
        self._logits = np.eye(1, classes, dtype=np.float32)

    def classify_frames(self, frames: Sequence[ReceivedTokens]) -> NDArray[np.float32]:
        """See `cloud.answerer.Classifier`."""
        return self._logits.repeat(len(frames), axis=0)

    def classify_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `cloud.answerer.Classifier`."""
        return self._logits.repeat(len(pixels), axis=0)


if __name__ == "__main__":
    logs.configure("cloud")
    _bundle = load_bundle(sys.argv[2])
    _settings = Settings(grpc_address=sys.argv[1], rest_port=0)
    asyncio.run(serve([(_bundle, NoModel(len(_bundle.labels)))], _settings))
