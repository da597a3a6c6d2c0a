"""Measuring a policy on images or utterances, through the engine, the channel and the cloud's side that serve."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channel.realisation import keyed_generator
from channel.transmission import carry
from edge.engine import Encoded, check_policy
from edge.torch_engine import TorchEngine, Transformed
from offline.data.utterances import Utterances
from offline.measure.inputs import inputs_of
from offline.measure.judges import Judge, Samples, load_judge
from offline.measure.prepared import PreparedImages
from policies.policy import Objectives, Policy
from thinwire.bundle import Bundle
from thinwire.channels import Channel
from thinwire.csi import Csi
from thinwire.equalise import Equaliser, ReceivedTokens, receive
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.frames import count_uses
from thinwire.nn.merging.matching import Rule
from thinwire.nn.merging.transformer import rules_for
from thinwire.nn.placement import CPU, Placement

LINK_ID = "evaluate"
BYPASS = Channel("")
"""No channel: the judge gets the tokens as they leave the device's layers; uses are counted all the same."""


def request_id_of(name: str) -> str:
    """The frame id of an evaluated image: 128 bits of a hash of its path, so that its noise is its own everywhere."""
    return hashlib.blake2b(name.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Measurement:
    """What each of ``n`` images or utterances gave; all arrays have the length ``n``, ``logits`` is ``n x classes``.

    An image may be ``asked`` for several answers, ``right`` of which were, and an utterance for its digits; their
    errors are not independent, so that standard errors are clustered (Cochran, 1977, Sampling Techniques, eq. 6.9, of a
    ratio). Texts have no classes.
    """

    logits: NDArray[np.float32]
    right: NDArray[np.int64]
    asked: NDArray[np.int64]
    tokens: NDArray[np.int64]
    uses: NDArray[np.int64]
    capped: NDArray[np.bool_]
    edge_gmacs: NDArray[np.float64]

    @property
    def accuracy(self) -> float:
        """Share of right answers; below 0 where there are more errors than answers, as a transcript may have."""
        return float(self.right.sum() / self.asked.sum())

    @property
    def accuracy_se(self) -> float:
        """Standard error of the accuracy."""
        return self._ratio(self.right)[1]

    @property
    def uses_p95(self) -> int:
        """The 95% quantile of the channel uses: the smallest count that 95% of the frames keep within."""
        return int(np.quantile(self.uses, 0.95, method="inverted_cdf"))

    def change_from(self, unmerged: "Measurement") -> tuple[float, float]:
        """Accuracy less the unmerged model's on the same images and noise, and that difference's standard error."""
        return self._ratio(self.right - unmerged.right)

    def _ratio(self, totals: NDArray[np.int64]) -> tuple[float, float]:
        """Sum of each image's total over what was asked, and its standard error."""
        ratio = totals.sum() / self.asked.sum()
        return float(ratio), float(np.sqrt(np.square(totals - ratio * self.asked).sum()) / self.asked.sum())

    def objectives(self, unmerged: "Measurement") -> Objectives:
        """The figures that the store keeps; measure with the cap at the uncapped `uses_p95` first.

        Args:
            unmerged: what the unmerged reference gave on the same images, channel and noise.
        """
        change, change_se = self.change_from(unmerged)
        return Objectives(
            accuracy=self.accuracy,
            accuracy_se=self.accuracy_se,
            n=len(self.right),
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
    computed once; see `offline.measure.prepared`.

    Args:
        bundle: whose engine and classifier these are.
        engine: the device's side.
        judge: the cloud's side, and the right answers.
        images: what to measure on.
        equaliser: how it equalises.
        snr_error_db: by how much the encoder takes the SNR for higher than it is; the receiver is not misled.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: TorchEngine,
        judge: Judge,
        images: Samples,
        equaliser: Equaliser = "mmse",
        snr_error_db: float = 0.0,
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        self.judge = judge
        self.images = images
        self.equaliser: Equaliser = equaliser
        self.snr_error_db = snr_error_db
        self._prepared = PreparedImages(engine, inputs_of(images, engine))
        self._unmerged: dict[tuple[Channel, int], Measurement] = {}

    @classmethod
    def load(
        cls,
        bundle: Bundle,
        images: Samples,
        placement: Placement = CPU,
        equaliser: Equaliser = "mmse",
        snr_error_db: float = 0.0,
    ) -> "Evaluator":
        """An evaluator of a bundle's own weights.

        Args:
            placement: where they lie; on the CPU, as they are, by default.
            equaliser: as for `Evaluator`.
            snr_error_db: as for `Evaluator`.

        Raises:
            InvalidRequestError: the images are of another task.
            UnavailableError: a package or a device that the placement needs is not there.
        """
        placement.check()
        judge = load_judge(bundle, images, placement)
        engine = TorchEngine.load(bundle, placement.main_device)
        return cls(bundle, engine, judge, images, equaliser, snr_error_db)

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The images, of a bundle that sees."""
        assert not isinstance(self.images, Utterances)
        return self.images.pixels

    def transform(self, rules: Sequence[Rule | None]) -> list[tuple[NDArray[np.int64], Transformed]]:
        """The images after the device's blocks, in parts with their indices; rates, SNRs and caps can share it."""
        return list(self._prepared.transform(rules))

    def measure_policy(
        self,
        policy: Policy,
        channel: Channel,
        seed: int,
        max_channel_uses: int | None = None,
        report: Callable[[int], None] = lambda done: None,
    ) -> Measurement:
        """Measure one policy; see `measure`."""
        check_policy(policy, self.bundle)
        parts = self._prepared.transform(rules_for(policy.thresholds))
        return self.measure(parts, policy.symbols_per_token, channel, seed, max_channel_uses, policy.max_tokens, report)

    def unmerged(self, channel: Channel, seed: int) -> Measurement:
        """What the bundle's unmerged reference gives; measured once.

        Raises:
            BundleError: the bundle has no reference.
        """
        if (channel, seed) not in self._unmerged:
            reference = self.bundle.reference
            if reference is None:
                raise BundleError(f"bundle {self.bundle.name} has no unmerged reference to compare with")
            policy = Policy.unmerged(self.bundle.steps, reference.symbols_per_token)
            self._unmerged[channel, seed] = self.measure_policy(policy, channel, seed)
        return self._unmerged[channel, seed]

    def measure(
        self,
        parts: Iterable[tuple[NDArray[np.int64], Transformed]],
        symbols_per_token: int,
        channel: Channel,
        seed: int,
        max_channel_uses: int | None = None,
        max_tokens: int | None = None,
        report: Callable[[int], None] = lambda done: None,
    ) -> Measurement:
        """Encode, send, decode and answer.

        Args:
            parts: what `transform` gave.
            symbols_per_token: the rate.
            channel: what frames are sent over; without a model, codec and channel are bypassed; see `BYPASS`.
            seed: of the keyed noise.
            max_channel_uses: the cap, pilots included.
            max_tokens: the policy's own limit.
            report: is told, again and again, how many images are done.
        """
        over = (channel,)
        return self.measure_over(parts, symbols_per_token, over, seed, max_channel_uses, max_tokens, report)[0]

    def measure_over(
        self,
        parts: Iterable[tuple[NDArray[np.int64], Transformed]],
        symbols_per_token: int,
        channels: Sequence[Channel],
        seed: int,
        max_channel_uses: int | None = None,
        max_tokens: int | None = None,
        report: Callable[[int], None] = lambda done: None,
    ) -> list[Measurement]:
        """Send what is encoded once over each of several channels of one SNR and one kind of pilots; see `measure`."""
        first = channels[0]
        logits = np.zeros((len(channels), len(self.images), self.judge.classes), dtype=np.float32)
        right = np.zeros((len(channels), len(self.images)), dtype=np.int64)
        encoded: dict[int, Encoded] = {}
        cap = None if max_channel_uses is None else first.csi.payload_within(max_channel_uses)
        for images, part in parts:
            snr_db = first.snr_db + self.snr_error_db if first.model else self.bundle.codec.snr_db[1]
            frames = self.engine.transmit(part, symbols_per_token, snr_db, cap, max_tokens)
            for number, channel in enumerate(channels):
                if not channel.model:
                    _check_bypass(part, frames)
                    right[number, images], logits[number, images] = self.judge.tokens(part.tokens, images)
                    continue
                received = [
                    self._send(frame, self.images.names[image], channel, seed)
                    for image, frame in zip(images, frames, strict=True)
                ]
                right[number, images], logits[number, images] = self.judge.frames(received, images)
            encoded.update(zip(images.tolist(), frames, strict=True))
            report(len(encoded))
        frames = [encoded[image] for image in range(len(self.images))]
        tokens = np.array([len(frame.symbols) for frame in frames])
        return [
            Measurement(
                logits=logits[number],
                right=right[number],
                asked=self.judge.asked,
                tokens=tokens,
                uses=np.array([_uses(int(count), symbols_per_token, channel.csi) for count in tokens]),
                capped=np.array([frame.capped for frame in frames]),
                edge_gmacs=np.array([frame.edge_gmacs for frame in frames]),
            )
            for number, channel in enumerate(channels)
        ]

    def _send(self, frame: Encoded, name: str, channel: Channel, seed: int) -> ReceivedTokens:
        generator = keyed_generator(seed, LINK_ID, request_id_of(name), 0)
        arrival = carry(frame.symbols, channel, generator)
        return receive(arrival.symbols, arrival.gain, arrival.noise_variance, self.equaliser)

    def unmerged_gmacs(self) -> float:
        """What the device computes for one image when nothing merges, in 10^9 MACs."""
        bundle = self.bundle
        counts = np.full((1, bundle.steps + 1), bundle.patches)
        return float(self.engine.cost.gmacs(counts, [False] * bundle.steps, counts[:, -1])[0])


def _uses(tokens: int, symbols_per_token: int, csi: Csi) -> int:
    return count_uses(tokens, symbols_per_token, pilots=csi.pilot_uses(tokens * symbols_per_token)).total


def _check_bypass(batch: Transformed, frames: Sequence[Encoded]) -> None:
    tokens = batch.tokens
    if [len(frame.symbols) for frame in frames] != (tokens.counts + tokens.prefix.shape[1]).tolist():
        raise InvalidRequestError("neither a cap nor a limit on the tokens has a meaning without a channel")
