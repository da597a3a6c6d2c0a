"""Every method on the same test images, channels and channel uses, part by part, so that a run can go on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channel.realisation import keyed_generator
from experiments.digital.adaptation import choose, measure
from experiments.digital.compressed import PictureSource
from experiments.digital.features import Feature, Latents, Logits, RawTokens, SharedImages
from experiments.digital.finite_blocklength import most_bits
from experiments.digital.link import frame_error_rate
from experiments.digital.mcs import Scheme, schemes
from experiments.digital.quantised import QuantisedSource
from experiments.digital.source import LabelSource, Source
from experiments.harness.setting import Setting, chosen
from offline.measure.evaluator import request_id_of
from policies.policy import Policy
from thinwire.channels import Channel

# The fixed schemes are chosen at this SNR, each on its kind of channel.
DESIGN_DB = 10.0
# Budgets, of the reference's uses, whose policies give the tokens that are quantised; and those that are sent as they
# are, which take more bits.
POLICY_BUDGETS, RAW_BUDGETS = (0.05, 0.2, 0.5), (0.05, 0.2)
BOUND_ERROR_RATES = (1e-3, 1e-2, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5)
SELECT_IMAGES, RATE_FRAMES = 2000, 1000
# Every so manieth image of *select*, and of the test images, for pictures, which take longest.
PICTURES = (5, 4)
# Symbols per token whose latents are quantised; where every token is sent, more would not fit.
RATES, UNMERGED_RATES = (1, 2, 3, 4, 6, 8), (1, 2, 3)


@dataclass(frozen=True)
class Point:
    """One method on one channel with one budget.

    Attributes:
        method: name of its row.
        uses: the budget.
        channel: model and average SNR.
        right: whether each image was answered rightly.
        mean_uses: channel uses on average.
        details: columns of a table that say how, for a digital frame.
        every: which of the test images these are: every first, or every so manieth.
    """

    method: str
    uses: int
    channel: Channel
    right: NDArray[np.bool_]
    mean_uses: float
    details: dict[str, Any] | None = None
    every: int = 1


class Comparison:
    """Measures points; what an earlier run measured is taken from the setting's folder.

    Args:
        setting: of the experiment.
        test_images: how many to measure on.
        budgets: channel uses of a frame.
        channels: in the order of their SNR.
    """

    def __init__(
        self, setting: Setting, test_images: int | None, budgets: tuple[int, ...], channels: list[Channel]
    ) -> None:
        self._setting, self._budgets, self._channels = setting, budgets, channels
        self._select = SharedImages(setting.evaluator("select", most=SELECT_IMAGES))
        self.test = SharedImages(setting.evaluator(most=test_images))
        self._bundle = self.test.evaluator.bundle
        # The SNR from which on a scheme lost no frame on AWGN.
        self._lossless: dict[Scheme, float] = {}
        assert self._bundle.reference is not None
        self._reference = self._bundle.reference.channel_uses
        counts = np.bincount(self._select.labels)
        self.guess = int(counts.argmax())
        self._guess_share = float(counts.max() / counts.sum())

    def points(self) -> list[Point]:
        """All of them, method by method."""
        select, test = self._select, self.test
        tokens = self._quantised("tokens", self._latents())
        raw = [RawTokens(policy, name) for name, policy in self._policies(RAW_BUDGETS).items()]
        pictures = PictureSource(select.every(PICTURES[0]), test.every(PICTURES[1]), self.guess, self._kept)
        label = LabelSource(select, test)
        # Each from the budget on at which it is of use: raw tokens and pictures take more bits than a smaller frame
        # holds at any SNR here, or holds only to be useless.
        sources: dict[Source, int] = {
            tokens: 0,
            self._quantised("logits", [Logits()]): 0,
            self._quantised("raw tokens", raw): self._bundle.patches,
            pictures: min(self._reference, max(self._budgets)),
        }
        sources = {source: least for source, least in sources.items() if source.has_options}
        found = self._all_analog()
        for uses in self._budgets:
            for source in (source for source, least in sources.items() if uses >= least):
                found += [
                    self._digital(f"{source.name}, adaptive", source, self._scheme(source, uses, channel), channel)
                    for channel in self._channels
                ]
                if source in (tokens, pictures):
                    models = dict.fromkeys(channel.model for channel in self._channels)
                    fixed = {model: self._scheme(source, uses, Channel(model, DESIGN_DB)) for model in models}
                    found += [
                        self._digital(f"{source.name}, fixed", source, fixed[channel.model], channel)
                        for channel in self._channels
                    ]
            found += [self._digital("label", label, Scheme(uses, 2, label.bits), channel) for channel in self._channels]
            found += [self._bound(tokens, uses, channel) for channel in self._channels if channel.model == "awgn"]
        return found

    def _scheme(self, source: Source, uses: int, channel: Channel) -> Scheme:
        """What most of *select* is answered rightly with on this channel."""
        return choose(source, schemes(uses), channel, self._error_rate, self._guess_share)

    def _kept(self, key: str, compute: Any) -> Any:
        return self._setting.kept(f"{key}; {len(self._select)} and {len(self.test)} images", compute)

    def _all_analog(self) -> list[Point]:
        wanted = []
        for uses in self._budgets:
            for channel in self._channels:
                wanted.append(("analog, auto", chosen(self._bundle, uses, channel).policy, uses, channel))
                fitting = [rate for rate in self._bundle.codec.rates if rate * self._bundle.patches <= uses]
                if rate := max(fitting, default=None):
                    policy = Policy.unmerged(self._bundle.steps, rate)
                    wanted.append(("analog, unmerged", policy, uses, channel))
        # Those of equal thresholds one after another, so that the device's blocks run once for them.
        points = {one: self._analog(*one) for one in sorted(wanted, key=lambda one: one[1].thresholds)}
        return [points[one] for one in wanted]

    def _analog(self, method: str, policy: Policy, uses: int, channel: Channel) -> Point:
        def compute() -> dict[str, Any]:
            measured = self.test.evaluator.measure(
                self.test.transformed(policy), policy.symbols_per_token, channel, self._setting.seed, uses,
                policy.max_tokens,
            )  # fmt: skip
            return {"right": measured.right.tolist(), "uses": float(measured.uses.mean())}

        found = self._kept(f"{method}, {policy.id}, {uses} uses, {channel}", compute)
        return Point(method, uses, channel, np.array(found["right"], dtype=np.bool_), found["uses"])

    def _digital(self, method: str, source: Source, scheme: Scheme, channel: Channel) -> Point:
        every = PICTURES[1] if isinstance(source, PictureSource) else 1
        test = self.test.every(every) if every > 1 else self.test
        compute = partial(measure, source, scheme, channel, test, self.guess, self._setting.seed)
        found = self._kept(f"{source.name}, {scheme}, {channel}", compute)
        details = {
            "scheme": scheme.text,
            "payload, bits": scheme.payload,
            "sent": source.option(scheme.payload),
            "fit, %": 100 * found["fit"],
            "frames lost, %": 100 * found["lost"],
        }
        right = np.array(found["right"], dtype=np.bool_)
        return Point(method, scheme.uses, channel, right, float(scheme.uses), details, every)

    def _bound(self, tokens: Source, uses: int, channel: Channel) -> Point:
        """The tokens in as many bits as the normal approximation has at an error rate, and so many frames lost.

        Of the rates that one is taken with which, on *select*, most answers are right.
        """
        options = [(rate, max(0, int(most_bits(uses, channel.snr_db, rate)))) for rate in BOUND_ERROR_RATES]

        def expected(option: tuple[float, int]) -> float:
            return (1 - option[0]) * tokens.score(option[1]) + option[0] * self._guess_share

        rate, payload = max(options, key=expected)

        def compute() -> list[int]:
            coded = tokens.encode(payload)
            seed = self._setting.seed
            drawn = [keyed_generator(seed, "bound", request_id_of(name), 0).random() for name in self.test.names]
            answers = np.where(coded.sent & (np.array(drawn) >= rate), coded.answers, self.guess)
            right: list[int] = (answers == self.test.labels).astype(int).tolist()
            return right

        right = np.array(self._kept(f"bound, {uses} uses, {channel}", compute), dtype=np.bool_)
        return Point("tokens, bound", uses, channel, right, float(uses))

    def _error_rate(self, scheme: Scheme, channel: Channel) -> float:
        """On noise of *select*; see `frame_error_rate`. What loses no frame at a lower SNR loses none here."""
        if channel.model == "awgn" and channel.snr_db >= self._lossless.get(scheme, math.inf):
            return 0.0
        names = self._select.names[:: max(1, len(self._select) // RATE_FRAMES)]
        compute = partial(frame_error_rate, scheme, channel, names, self._setting.seed)
        rate: float = self._kept(f"frame error rate, {scheme}, {channel}", compute)
        if channel.model == "awgn" and not rate:
            self._lossless[scheme] = min(channel.snr_db, self._lossless.get(scheme, channel.snr_db))
        return rate

    def _policies(self, shares: tuple[float, ...]) -> dict[str, Policy]:
        design = Channel("awgn", DESIGN_DB)
        budgets = [int(share * self._reference) for share in shares]
        return {policy.id: policy for policy in (chosen(self._bundle, uses, design).policy for uses in budgets)}

    def _quantised(self, name: str, features: Sequence[Feature]) -> QuantisedSource:
        most = max(scheme.payload for uses in self._budgets for scheme in schemes(uses))
        return QuantisedSource(name, features, self._select, self.test, self.guess, self._kept, most)

    def _latents(self) -> list[Feature]:
        features: list[Feature] = [
            Latents(policy, rate, name) for name, policy in self._policies(POLICY_BUDGETS).items() for rate in RATES
        ]
        unmerged = Policy.unmerged(self._bundle.steps, 1)
        features += [Latents(unmerged, rate, "unmerged") for rate in UNMERGED_RATES]
        return features[:: 5 if self._setting.quick else 1]
