"""The cloud's classifier on ONNX Runtime, without torch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from thinwire.bundle import Bundle
from thinwire.equalise import ReceivedTokens
from thinwire.exports import CLOUD, CLOUD_INPUTS, LOGITS, PLAIN, PLAIN_INPUTS
from thinwire.onnx_session import OnnxSession

# What a run costs besides its tokens, in tokens: 16 on the shipped bundle, and less on larger models.
RUN_TOKENS = 16


def group_by_length(counts: Sequence[int]) -> list[list[int]]:
    """Part frames into those that are padded to one length and run together.

    A group takes the next shorter frame as long as its padding stays within what one more run would cost.

    Args:
        counts: tokens of each frame.

    Returns:
        the indices of each group's frames.
    """
    groups: list[list[int]] = []
    longest = padding = 0
    for index in sorted(range(len(counts)), key=counts.__getitem__, reverse=True):
        padding += longest - counts[index]
        if groups and padding <= RUN_TOKENS:
            groups[-1].append(index)
        else:
            groups.append([index])
            longest, padding = counts[index], 0
    return groups


class OnnxClassifier:
    """Runs a bundle's `cloud.onnx` and `plain.onnx`; see `cloud.answerer.Classifier`.

    Args:
        bundle: says how.
        frames: session of what runs on frames.
        images: session of the plain model.

    Raises:
        BundleError: one of them takes or gives something else.
    """

    def __init__(self, bundle: Bundle, frames: OnnxSession, images: OnnxSession) -> None:
        self.bundle = bundle
        self._frames, self._images = frames, images
        frames.check(CLOUD_INPUTS, LOGITS)
        images.check(PLAIN_INPUTS, LOGITS)

    @classmethod
    def load(cls, bundle: Bundle, threads: int = 1) -> "OnnxClassifier":
        """The classifier of a bundle that has been exported.

        Raises:
            BundleError: the bundle has no exports, or some that do not fit it.
        """
        return cls(bundle, OnnxSession.load(bundle, CLOUD, threads), OnnxSession.load(bundle, PLAIN, threads))

    def classify_frames(self, frames: Sequence[ReceivedTokens]) -> NDArray[np.float32]:
        """Logits of frames of any token counts and rates, ``frames x classes``."""
        logits = np.empty((len(frames), len(self.bundle.labels)), dtype=np.float32)
        for group in group_by_length([len(frame.symbols) for frame in frames]):
            logits[group] = self._classify_padded([frames[index] for index in group])
        return logits

    def _classify_padded(self, frames: Sequence[ReceivedTokens]) -> NDArray[np.float32]:
        longest = max(len(frame.symbols) for frame in frames)
        symbols = np.zeros((len(frames), longest, self.bundle.codec.max_symbols_per_token), dtype=np.complex64)
        valid = np.zeros((len(frames), longest), dtype=np.bool_)
        for row, frame in enumerate(frames):
            tokens, rate = frame.symbols.shape
            symbols[row, :tokens, :rate] = frame.symbols
            valid[row, :tokens] = True
        (logits,) = self._frames.run(
            {
                "symbols": symbols.view(np.float32).reshape(*symbols.shape, 2),
                "noise_variance": np.array([frame.noise_variance for frame in frames], dtype=np.float32),
                "valid": valid,
                "symbols_per_token": np.array([frame.symbols.shape[1] for frame in frames], dtype=np.int64),
            }
        )
        return logits

    def classify_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits of the plain model on ``batch x size x size x 3`` pixels."""
        (logits,) = self._images.run({"pixels": pixels})
        return logits
