"""The task "classify": from a frame to its labels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloud.answerer import Classifier
from cloud.batcher import Batcher
from cloud.held_frames import HeldFrames
from cloud.task import Batching, content_of
from thinwire.bundle import Bundle
from thinwire.equalise import ReceivedTokens
from thinwire.errors import InvalidFrameError, InvalidRequestError, ThinwireError
from thinwire.frames import all_finite, frame_key
from thinwire.v1 import link_pb2

DEFAULT_TOP_K = 5
# A sender gives up on a frame long before the one, and cannot have so many under way as the other.
REMEMBERED_S = 60.0
REMEMBERED_FRAMES = 4096
REMEMBERED_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class Ranking:
    """The classes of one frame or image.

    Attributes:
        logits: one per class.
        scores: their softmax.
        order: the classes, best first; of equal logits the earlier class first.
    """

    logits: NDArray[np.float32]
    scores: NDArray[np.float64]
    order: NDArray[np.intp]

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.logits.nbytes + self.scores.nbytes + self.order.nbytes

    def best(self, labels: Sequence[str], top_k: int) -> list[tuple[str, float]]:
        """The best labels with their scores, best first: ``top_k``, or all of them if there are fewer."""
        return [(labels[index], self.scores.item(index)) for index in self.order[:top_k].tolist()]


def rank(logits: NDArray[np.float32]) -> list[Ranking]:
    """The rankings of ``items x classes`` logits."""
    scores = np.subtract(logits, logits.max(axis=1, keepdims=True), dtype=np.float64)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    # By the logits: far below the best, unequal ones have equal scores.
    order = np.argsort(-logits, axis=1, kind="stable")
    # Copies, since a row that is kept would keep its whole batch.
    return [Ranking(*(row.copy() for row in rows)) for rows in zip(logits, scores, order, strict=True)]


def remembered() -> HeldFrames[Ranking]:
    """What keeps rankings for frames that are sent again."""
    return HeldFrames(REMEMBERED_FRAMES, REMEMBERED_S, REMEMBERED_BYTES, lambda ranking: ranking.nbytes)


class Classification:
    """Serves a classifier; see `cloud.task.Task`.

    All classes are kept, so that a repeated frame may ask for more labels than at first. They are ranked where the
    model runs, a batch at a time.

    Args:
        bundle: what is served.
        classifier: the model.
        batching: how frames and images run.
        held: keeps the rankings of frames, of other bundles among them.

    Attributes:
        bundle: what is served.
        frames: runs the decoder and the rest of the model.
        images: runs the plain model on a ``size x size x 3`` array of uint8.
    """

    def __init__(self, bundle: Bundle, classifier: Classifier, batching: Batching, held: HeldFrames[Ranking]) -> None:
        def frames(items: Sequence[ReceivedTokens]) -> list[Ranking | ThinwireError]:
            logits = classifier.classify_frames(items)
            if all_finite(logits):
                return list(rank(logits))
            return [rank(row[None])[0] if all_finite(row) else _no_answer() for row in logits]

        def images(items: Sequence[NDArray[np.uint8]]) -> list[Ranking]:
            return rank(classifier.classify_images(np.stack(items)))

        self.bundle = bundle
        self.frames: Batcher[ReceivedTokens, Ranking] = batching.open(bundle, "frame", frames)
        self.images: Batcher[NDArray[np.uint8], Ranking] = batching.open(bundle, "image", images)
        self._held = held

    def check(self, frame: link_pb2.Frame) -> None:
        """Refuse a question."""
        if frame.question:
            raise InvalidRequestError(f"the task 'classify' takes no question, got {frame.question[:80]!r}")
        if frame.HasField("generation"):
            raise InvalidRequestError("the task 'classify' generates nothing, got a generation")
        if frame.HasField("transcription"):
            raise InvalidRequestError("the task 'classify' writes nothing down, got a transcription")

    async def answer(
        self, frame: link_pb2.Frame, tokens: ReceivedTokens, result: link_pb2.Result, deadline_s: float = math.inf
    ) -> None:
        """Write the best labels and, if asked for, all logits.

        Raises:
            InvalidFrameError: the logits are not finite.
            IdTakenError: another frame of this name came before.
        """
        ranking = await self._held.share(
            frame_key(frame),
            content_of(self.bundle, tokens),
            lambda: self.frames.enqueue(tokens, deadline_s),
            deadline_s,
        )
        for label, score in ranking.best(self.bundle.labels, frame.top_k or DEFAULT_TOP_K):
            result.outputs.add(label=label, score=score)
        if frame.want_logits:
            result.logits.extend(ranking.logits.tolist())

    async def close(self) -> None:
        """Finish what runs, and refuse the rest."""
        await self.frames.close()
        await self.images.close()
        self._held.clear()


def _no_answer() -> InvalidFrameError:
    return InvalidFrameError("the model has no finite answer for these symbols")
