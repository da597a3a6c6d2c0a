"""Measuring a policy on labelled images, through the engine, the channel and the classifier that serve."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from channel.keys import keyed_generator
from channel.models.registry import get
from channel.realisation import apply
from cloud.answerer import ReceivedTokens
from cloud.head import classify_tokens
from cloud.reception import receive
from cloud.torch_classifier import TorchClassifier
from edge.engine import Encoded
from edge.torch_engine.engine import TorchEngine, Transformed
from edge.torch_engine.matching import Rule
from edge.torch_engine.vit import rules_for
from offline.data import LabelledImages
from policies.policy import Policy
from policies.record import ChannelProfile, Objectives
from thinwire.bundle import Bundle
from thinwire.frames import count_uses

LINK_ID = "evaluate"


def request_id_of(name: str) -> str:
    """The frame id of an evaluated image: 128 bits of a hash of its path, so that its noise is its own everywhere."""
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Measurement:
    """What each of ``n`` images gave; all arrays have the length ``n``, ``logits`` is ``n x classes``."""

    logits: NDArray[np.float32]
    correct: NDArray[np.bool_]
    tokens: NDArray[np.int64]
    uses: NDArray[np.int64]
    capped: NDArray[np.bool_]
    edge_gmacs: NDArray[np.float64]

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return float(self.correct.mean())

    @property
    def accuracy_se(self) -> float:
        """Standard error of the accuracy."""
        return float(np.sqrt(self.accuracy * (1 - self.accuracy) / len(self.correct)))

    @property
    def uses_p95(self) -> int:
        """The 95% quantile of the channel uses: the smallest count that 95% of the frames keep within."""
        return int(np.quantile(self.uses, 0.95, method="inverted_cdf"))

    def objectives(self) -> Objectives:
        """The figures that the store keeps; measure with the cap at the uncapped `uses_p95` first."""
        return Objectives(
            accuracy=self.accuracy,
            accuracy_se=self.accuracy_se,
            n=len(self.correct),
            edge_gmacs=float(self.edge_gmacs.mean()),
            channel_uses=float(self.uses.mean()),
            channel_uses_p95=self.uses_p95,
            tokens=float(self.tokens.mean()),
            tokens_sd=float(self.tokens.std()),
            capped_share=float(self.capped.mean()),
        )


class Evaluator:
    """Measures policies of one bundle on one set of images.

    Every policy meets the same images, and every image the same keyed noise.

    Args:
        bundle: whose engine and classifier these are.
        engine: the device's side.
        classifier: the cloud's side.
        images: what to measure on.
        batch: images at once; it changes no result beyond float rounding.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: TorchEngine,
        classifier: TorchClassifier,
        images: LabelledImages,
        batch: int = 128,
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        self.classifier = classifier
        self.images = images
        self._batch = batch

    @classmethod
    def load(cls, bundle: Bundle, images: LabelledImages) -> "Evaluator":
        """An evaluator of a bundle's own weights."""
        return cls(bundle, TorchEngine.load(bundle), TorchClassifier.load(bundle), images)

    def transform(self, rules: Sequence[Rule | None]) -> list[Transformed]:
        """The images after the device's blocks, in batches; rates, SNRs and caps can share it."""
        return list(self._transform(rules))

    def _transform(self, rules: Sequence[Rule | None]) -> Iterator[Transformed]:
        for start in range(0, len(self.images), self._batch):
            yield self.engine.transform(self.images.pixels[start : start + self._batch], rules)

    def measure_policy(
        self, policy: Policy, channel: ChannelProfile | None, seed: int, max_channel_uses: int | None = None
    ) -> Measurement:
        """Measure one policy; see `measure`."""
        self.engine.check(policy)
        rules = rules_for(policy.thresholds)
        return self.measure(self._transform(rules), policy.symbols_per_token, channel, seed, max_channel_uses)

    def measure(
        self,
        transformed: Iterator[Transformed] | Sequence[Transformed],
        symbols_per_token: int,
        channel: ChannelProfile | None,
        seed: int,
        max_channel_uses: int | None = None,
    ) -> Measurement:
        """Encode, send, decode and classify.

        Args:
            transformed: what `transform` gave.
            symbols_per_token: the rate.
            channel: model and SNR, or None to bypass codec and channel (uses are counted all the same).
            seed: of the keyed noise.
            max_channel_uses: the cap.
        """
        logits: list[NDArray[np.float32]] = []
        encoded: list[Encoded] = []
        for batch in transformed:
            snr_db = self.bundle.codec.snr_db[1] if channel is None else channel.snr_db
            frames = self.engine.transmit(batch, symbols_per_token, snr_db, max_channel_uses)
            names = self.images.names[len(encoded) : len(encoded) + len(frames)]
            if channel is None:
                logits.append(self._bypass(batch, frames))
            else:
                received = [self._send(frame, name, channel, seed) for frame, name in zip(frames, names, strict=True)]
                logits.append(self.classifier.classify_frames(received))
            encoded += frames
        scores = np.concatenate(logits)
        tokens = np.array([len(frame.symbols) for frame in encoded])
        return Measurement(
            logits=scores,
            correct=scores.argmax(1) == self.images.labels,
            tokens=tokens,
            uses=np.array([count_uses(int(count), symbols_per_token).total for count in tokens]),
            capped=np.array([frame.capped for frame in encoded]),
            edge_gmacs=np.array([frame.edge_gmacs for frame in encoded]),
        )

    def _send(self, frame: Encoded, name: str, channel: ChannelProfile, seed: int) -> ReceivedTokens:
        generator = keyed_generator(seed, LINK_ID, request_id_of(name), 0)
        realisation = get(channel.model).draw(frame.symbols.shape, channel.snr_db, generator)
        received = apply(frame.symbols, realisation)
        return receive(received, complex(np.complex64(realisation.gain)), float(realisation.noise_variance))

    def unmerged_gmacs(self) -> float:
        """What the device computes for one image when nothing merges, in 10^9 MACs."""
        bundle = self.bundle
        counts = np.full((1, bundle.split_layer + 1), bundle.patches)
        return float(self.engine.cost.gmacs(counts, [False] * bundle.split_layer, counts[:, -1])[0])

    @torch.inference_mode()
    def _bypass(self, batch: Transformed, frames: Sequence[Encoded]) -> NDArray[np.float32]:
        tokens = batch.tokens
        if any(frame.capped for frame in frames):
            raise ValueError("a cap has no meaning without a channel")
        valid = torch.cat((tokens.valid.new_ones(tokens.prefix.shape[:2]), tokens.valid), dim=1)
        x = torch.cat((tokens.prefix, tokens.x), dim=1)
        model, split = self.engine.model, self.bundle.split_layer
        logits: NDArray[np.float32] = classify_tokens(model, split, x, tokens.all_sizes, valid).cpu().numpy()
        return logits
