"""Measuring a policy on labelled images, through the engine, the channel and the classifier that serve."""

import hashlib
from collections.abc import Iterable, Sequence
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
from offline.prepared import PreparedImages
from policies.policy import Policy
from policies.record import ChannelProfile, Objectives
from thinwire.bundle import Bundle
from thinwire.errors import BundleError, InvalidRequestError
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

    def change_from(self, unmerged: "Measurement") -> tuple[float, float]:
        """Accuracy less the unmerged model's on the same images and noise, and that difference's standard error."""
        differences = self.correct.astype(float) - unmerged.correct
        return float(differences.mean()), float(differences.std() / np.sqrt(len(differences)))

    def objectives(self, unmerged: "Measurement") -> Objectives:
        """The figures that the store keeps; measure with the cap at the uncapped `uses_p95` first.

        Args:
            unmerged: what the unmerged reference gave on the same images, channel and noise.
        """
        change, change_se = self.change_from(unmerged)
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
            accuracy_change=change,
            accuracy_change_se=change_se,
        )


class Evaluator:
    """Measures policies of one bundle on one set of images.

    Every policy meets the same images, and every image the same keyed noise. What does not depend on the policy is
    computed once; see `offline.prepared`.

    Args:
        bundle: whose engine and classifier these are.
        engine: the device's side.
        classifier: the cloud's side.
        images: what to measure on.
    """

    def __init__(
        self, bundle: Bundle, engine: TorchEngine, classifier: TorchClassifier, images: LabelledImages
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        self.classifier = classifier
        self.images = images
        self._prepared = PreparedImages(engine, images.pixels)
        self._unmerged: dict[tuple[ChannelProfile, int], Measurement] = {}

    @classmethod
    def load(cls, bundle: Bundle, images: LabelledImages) -> "Evaluator":
        """An evaluator of a bundle's own weights."""
        return cls(bundle, TorchEngine.load(bundle), TorchClassifier.load(bundle), images)

    def transform(self, rules: Sequence[Rule | None]) -> list[tuple[NDArray[np.int64], Transformed]]:
        """The images after the device's blocks, in parts with their indices; rates, SNRs and caps can share it."""
        return list(self._prepared.transform(rules))

    def measure_policy(
        self, policy: Policy, channel: ChannelProfile | None, seed: int, max_channel_uses: int | None = None
    ) -> Measurement:
        """Measure one policy; see `measure`."""
        self.engine.check(policy)
        parts = self._prepared.transform(rules_for(policy.thresholds))
        return self.measure(parts, policy.symbols_per_token, channel, seed, max_channel_uses, policy.max_tokens)

    def unmerged(self, channel: ChannelProfile, seed: int) -> Measurement:
        """What the bundle's unmerged reference gives; measured once.

        Raises:
            BundleError: the bundle has no reference.
        """
        if (channel, seed) not in self._unmerged:
            reference = self.bundle.reference
            if reference is None:
                raise BundleError(f"bundle {self.bundle.name} has no unmerged reference to compare with")
            policy = Policy.unmerged(self.bundle.split_layer, reference.symbols_per_token)
            self._unmerged[channel, seed] = self.measure_policy(policy, channel, seed)
        return self._unmerged[channel, seed]

    def measure(
        self,
        parts: Iterable[tuple[NDArray[np.int64], Transformed]],
        symbols_per_token: int,
        channel: ChannelProfile | None,
        seed: int,
        max_channel_uses: int | None = None,
        max_tokens: int | None = None,
    ) -> Measurement:
        """Encode, send, decode and classify.

        Args:
            parts: what `transform` gave.
            symbols_per_token: the rate.
            channel: model and SNR, or None to bypass codec and channel (uses are counted all the same).
            seed: of the keyed noise.
            max_channel_uses: the cap.
            max_tokens: the policy's own limit.
        """
        logits = np.zeros((len(self.images), len(self.bundle.labels)), dtype=np.float32)
        encoded: dict[int, Encoded] = {}
        for images, part in parts:
            snr_db = self.bundle.codec.snr_db[1] if channel is None else channel.snr_db
            frames = self.engine.transmit(part, symbols_per_token, snr_db, max_channel_uses, max_tokens)
            if channel is None:
                logits[images] = self._bypass(part, frames)
            else:
                received = [
                    self._send(frame, self.images.names[image], channel, seed)
                    for image, frame in zip(images, frames, strict=True)
                ]
                logits[images] = self.classifier.classify_frames(received)
            encoded.update(zip(images.tolist(), frames, strict=True))
        frames = [encoded[image] for image in range(len(self.images))]
        tokens = np.array([len(frame.symbols) for frame in frames])
        return Measurement(
            logits=logits,
            correct=logits.argmax(1) == self.images.labels,
            tokens=tokens,
            uses=np.array([count_uses(int(count), symbols_per_token).total for count in tokens]),
            capped=np.array([frame.capped for frame in frames]),
            edge_gmacs=np.array([frame.edge_gmacs for frame in frames]),
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
        if [len(frame.symbols) for frame in frames] != (tokens.counts + tokens.prefix.shape[1]).tolist():
            raise InvalidRequestError("neither a cap nor a limit on the tokens has a meaning without a channel")
        valid = torch.cat((tokens.valid.new_ones(tokens.prefix.shape[:2]), tokens.valid), dim=1)
        x = torch.cat((tokens.prefix, tokens.x), dim=1)
        model, split = self.classifier.model, self.bundle.split_layer
        logits: NDArray[np.float32] = classify_tokens(model, split, x, tokens.all_sizes, valid).cpu().numpy()
        return logits
