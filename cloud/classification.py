"""The task "classify": from a frame to its labels."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cloud.answerer import Classifier, ReceivedTokens
from cloud.batcher import Batcher
from cloud.deduplication import Deduplicator
from cloud.held_frames import HeldFrames
from cloud.task import Batching
from thinwire.bundle import Bundle
from thinwire.errors import InvalidFrameError, InvalidRequestError
from thinwire.frames import frame_key
from thinwire.v1 import link_pb2

DEFAULT_TOP_K = 5
# A sender gives up on a frame long before the one, and cannot have so many under way as the other.
REMEMBERED_S = 60.0
REMEMBERED_FRAMES = 4096
REMEMBERED_BYTES = 64 * 2**20


def rank_labels(logits: NDArray[np.float32], labels: Sequence[str], top_k: int) -> list[tuple[str, float]]:
    """The best labels with their softmax scores, best first; of equal logits the earlier class first.

    Args:
        logits: one per class.
        top_k: how many; all of them if there are fewer.
    """
    shifted = np.exp(logits.astype(np.float64) - logits.max())
    scores = shifted / shifted.sum()
    # By the logits: far below the best, unequal ones have equal scores.
    best = np.argsort(-logits, kind="stable")[:top_k]
    return [(labels[index], float(scores[index])) for index in best]


class Classification:
    """Serves a classifier; see `cloud.task.Task`.

    Logits are kept, so that a repeated frame may ask for more labels than at first.

    Attributes:
        bundle: what is served.
        frames: runs the decoder and the rest of the model; gives ``classes`` logits a frame.
        images: runs the plain model on a ``size x size x 3`` array of uint8; gives ``classes`` logits.
    """

    def __init__(self, bundle: Bundle, classifier: Classifier, batching: Batching) -> None:
        def frames(items: Sequence[ReceivedTokens]) -> list[NDArray[np.float32]]:
            return list(classifier.classify_frames(items))

        def images(items: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
            return list(classifier.classify_images(np.stack(items)))

        self.bundle = bundle
        self.frames: Batcher[ReceivedTokens, NDArray[np.float32]] = batching.open("frame", frames)
        self.images: Batcher[NDArray[np.uint8], NDArray[np.float32]] = batching.open("image", images)
        self._held: HeldFrames[NDArray[np.float32]] = HeldFrames(
            REMEMBERED_FRAMES, REMEMBERED_S, REMEMBERED_BYTES, lambda logits: logits.nbytes
        )
        self._deduplicator = Deduplicator(self._held)

    def check(self, frame: link_pb2.Frame) -> None:
        """Refuse a question."""
        if frame.question:
            raise InvalidRequestError(f"the task 'classify' takes no question, got {frame.question[:80]!r}")
        if frame.HasField("generation"):
            raise InvalidRequestError("the task 'classify' generates nothing, got a generation")

    async def answer(
        self, frame: link_pb2.Frame, tokens: ReceivedTokens, result: link_pb2.Result, deadline_s: float = math.inf
    ) -> None:
        """Write the best labels and, if asked for, all logits.

        Raises:
            InvalidFrameError: the logits are not finite, or another frame of this name came before.
        """
        logits = await self._deduplicator.share(
            frame_key(frame), tokens.digest, lambda: self.frames.submit(tokens, deadline_s), deadline_s
        )
        if not np.isfinite(logits).all():
            raise InvalidFrameError("the model has no finite answer for these symbols")
        for label, score in rank_labels(logits, self.bundle.labels, frame.top_k or DEFAULT_TOP_K):
            result.outputs.add(label=label, score=score)
        if frame.want_logits:
            result.logits.extend(logits.tolist())

    async def close(self) -> None:
        """Finish what runs, and refuse the rest."""
        await self.frames.close()
        await self.images.close()
        self._held.clear()
