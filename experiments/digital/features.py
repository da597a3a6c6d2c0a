"""What of an image can be quantised and sent: sets of vectors, and what the cloud answers to them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from edge.torch_engine import Transformed
from experiments.digital.quantiser import Vectors
from offline.data.images import LabelledImages
from offline.measure.evaluator import Evaluator
from offline.measure.judges import LabelJudge
from policies.policy import Policy
from thinwire.equalise import ReceivedTokens
from thinwire.nn.head import classify_packed
from thinwire.nn.merging.matching import merge_down_to
from thinwire.nn.merging.transformer import rules_for
from thinwire.nn.packed import Packing

# Frames that the cloud answers together.
BATCH = 256


class SharedImages:
    """Images on the device and the cloud's classifier; what features share is computed once.

    Args:
        evaluator: of a bundle that classifies.
    """

    def __init__(self, evaluator: Evaluator) -> None:
        judge = evaluator.judge
        if not isinstance(judge, LabelJudge):
            raise ValueError("expected a bundle that classifies")
        self.evaluator = evaluator
        self.engine = evaluator.engine
        self.classifier = judge.classifier
        self.labels = judge.labels
        self.names = list(evaluator.images.names)
        self.pixels = evaluator.pixels
        self._transform = lru_cache(maxsize=1)(lambda thresholds: evaluator.transform(rules_for(thresholds)))

    def __len__(self) -> int:
        return len(self.names)

    def every(self, step: int) -> "SharedImages":
        """Every so manieth of them."""
        whole = self.evaluator
        if not isinstance(whole.images, LabelledImages):
            raise ValueError("expected images with labels")
        some = whole.images.take(np.arange(0, len(self), step))
        return SharedImages(Evaluator(whole.bundle, whole.engine, LabelJudge(self.classifier, some), some))

    def transformed(self, policy: Policy) -> list[tuple[NDArray[np.int64], Transformed]]:
        """The images after the device's blocks under a policy's thresholds; the last policy's are kept."""
        return self._transform(policy.thresholds)

    @cached_property
    def logits(self) -> NDArray[np.float32]:
        """The plain model's, ``n x classes``."""
        return self.classify(self.pixels)

    def classify(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits of the plain model on any pixels."""
        parts = [self.classifier.classify_images(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)]
        return np.concatenate(parts)


class Feature(Protocol):
    """One thing to send."""

    @property
    def text(self) -> str:
        """Names it, in a table and among what is kept."""
        ...

    def vectors(self, images: SharedImages, bits: int) -> list[Vectors]:
        """``T x D`` of each image, to be quantised at so many bits."""
        ...

    def answers(self, images: SharedImages, vectors: Sequence[Vectors], distortion: float) -> NDArray[np.int64]:
        """The class that the cloud says to each set, of vectors with this mean squared error of a component."""
        ...


@dataclass(frozen=True)
class Latents:
    """What the JSCC encoder makes of a policy's tokens, two real numbers for each of its symbols; sizes within them."""

    policy: Policy
    rate: int
    name: str

    @property
    def text(self) -> str:
        """See `Feature`."""
        return f"{self.name}, {2 * self.rate} latents each"

    def vectors(self, images: SharedImages, bits: int) -> list[Vectors]:
        """See `Feature`. The encoder is told an SNR of 6 dB a bit, about what that quantisation leaves."""
        found: dict[int, Vectors] = {}
        for indices, part in images.transformed(self.policy):
            frames = images.engine.transmit(
                part, self.rate, min(6.0 * bits, images.evaluator.bundle.codec.snr_db[1]), None, self.policy.max_tokens
            )
            for index, frame in zip(indices.tolist(), frames, strict=True):
                found[index] = np.ascontiguousarray(frame.symbols).view(np.float32)
        return [found[index] for index in range(len(images))]

    def answers(self, images: SharedImages, vectors: Sequence[Vectors], distortion: float) -> NDArray[np.int64]:
        """See `Feature`.

        Values that are means of their levels have lost the distortion's part of their power, like a linear MMSE
        estimate. With m = 1 - D they are x' / m under a noise of variance 1 / m - 1, as in `thinwire.equalise`.
        """
        kept = max(1 - 2 * distortion, 0.05)
        frames = [
            ReceivedTokens(np.ascontiguousarray(one / np.float32(kept)).view(np.complex64), 1 / kept - 1)
            for one in vectors
        ]
        parts = [images.classifier.classify_frames(frames[i : i + BATCH]) for i in range(0, len(frames), BATCH)]
        found: NDArray[np.int64] = np.concatenate(parts).argmax(axis=1)
        return found


@dataclass(frozen=True)
class RawTokens:
    """A policy's tokens as they leave the last layer, and of each the logarithm of its size."""

    policy: Policy
    name: str

    @property
    def text(self) -> str:
        """See `Feature`."""
        return f"{self.name}, as they are"

    @torch.inference_mode()
    def vectors(self, images: SharedImages, bits: int) -> list[Vectors]:
        """See `Feature`; the same for all numbers of bits."""
        found: dict[int, Vectors] = {}
        for indices, part in images.transformed(self.policy):
            tokens, prefix = part.tokens, part.tokens.prefix.shape[1]
            if self.policy.max_tokens is not None:
                limits = torch.full_like(tokens.counts, max(1, self.policy.max_tokens - prefix))
                tokens = merge_down_to(tokens, limits, images.evaluator.bundle.merging.weight)
                tokens = tokens.without_patches() if self.policy.max_tokens == prefix else tokens
            x = torch.cat((tokens.prefix, tokens.x), dim=1)
            rows = torch.cat((x, tokens.all_sizes.log2()[..., None]), dim=2).numpy()
            for index, row, count in zip(indices.tolist(), rows, tokens.counts.tolist(), strict=True):
                found[index] = row[: prefix + count].copy()
        return [found[index] for index in range(len(images))]

    @torch.inference_mode()
    def answers(self, images: SharedImages, vectors: Sequence[Vectors], distortion: float) -> NDArray[np.int64]:
        """See `Feature`."""
        bundle, model = images.evaluator.bundle, images.classifier.model
        split, proportional = bundle.split_layer, bundle.merging.proportional_attention
        found = []
        for start in range(0, len(vectors), BATCH):
            part = vectors[start : start + BATCH]
            rows = torch.from_numpy(np.concatenate(part))
            packing = Packing(tuple(len(one) for one in part), rows.device)
            logits = classify_packed(model, split, rows[:, :-1], rows[:, -1].exp2(), packing, proportional)
            found.append(logits.argmax(dim=1).numpy())
        return np.concatenate(found)


@dataclass(frozen=True)
class Logits:
    """The device's own logits, less their mean."""

    text: str = "logits"

    def vectors(self, images: SharedImages, bits: int) -> list[Vectors]:
        """See `Feature`; the same for all numbers of bits."""
        logits = images.logits
        return list((logits - logits.mean(axis=1, keepdims=True))[:, None])

    def answers(self, images: SharedImages, vectors: Sequence[Vectors], distortion: float) -> NDArray[np.int64]:
        """See `Feature`."""
        found: NDArray[np.int64] = np.concatenate(vectors).argmax(axis=1)
        return found
