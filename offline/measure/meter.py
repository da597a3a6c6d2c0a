"""Measuring policies as the store keeps them: objectives under the policy's own cap, latency, and accuracy over SNR."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.engine import check_policy
from edge.torch_engine import TorchEngine, Transformed
from offline.measure.evaluator import Evaluator, Measurement
from policies.policy import STANDARD_ERRORS, AccuracyAt, MeasuredPolicy, Objectives, Policy
from thinwire.channels import Channel
from thinwire.csi import Csi
from thinwire.nn.merging.transformer import rules_for

VERSIONS = {name: metadata.version(name) for name in ("torch", "timm", "transformers", "numpy")}
# A fall of accuracy must exceed both this, which is what anybody would care about, and what chance explains.
LEAST_FALL = 0.01


class PairedLatency:
    """Times policies input by input, each beside the unmerged reference, so that the machine's moods cancel out.

    Args:
        engine: the device's side, as it serves: one image at a time.
        inputs: as `offline.measure.inputs.inputs_of` gives them; each is timed once per policy.
        reference: the unmerged policy.
        reference_ms: its time, to which the measured ratios are applied; measured here when left out. A search states
            the same one throughout, also after it was resumed.
    """

    def __init__(
        self, engine: TorchEngine, inputs: NDArray[Any], reference: Policy, reference_ms: float | None = None
    ) -> None:
        self._engine = engine
        self._inputs = inputs
        self._reference = reference
        for image in inputs[:3]:
            self._time(image, reference)
        if reference_ms is None:
            reference_ms = 1000 * float(np.median([self._time(image, reference) for image in inputs]))
        self.reference_ms = reference_ms

    def measure(self, policy: Policy) -> tuple[float, float]:
        """Milliseconds per image and their standard error: the geometric mean of the ratios, times the reference."""
        self._time(self._inputs[0], policy)
        ratios = []
        for index, image in enumerate(self._inputs):
            # Whoever runs second finds warmer caches, so they take turns.
            pair = (self._reference, policy) if index % 2 else (policy, self._reference)
            spent = {one: self._time(image, one) for one in pair}
            ratios.append(math.log(spent[policy] / spent[self._reference]))
        ms = self.reference_ms * math.exp(float(np.mean(ratios)))
        return ms, ms * float(np.std(ratios)) / math.sqrt(len(ratios))

    def _time(self, image: NDArray[Any], policy: Policy) -> float:
        began = time.perf_counter()
        self._engine.encode(image, policy, 10.0)
        return time.perf_counter() - began


class PolicyMeter:
    """Measures one policy after another, on one or several channels.

    Args:
        evaluator: over the images to measure on.
        channels: what the objectives are measured on; policies are compared on each by itself.
        seed: of the keyed noise.
        split: name of the part of the data, for the provenance.
        snrs_db: where to measure accuracy beside the channels' own SNRs.
        latency: measures the latency too, where that is an objective.

    Attributes:
        provenance: what every measurement states.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        channels: Sequence[Channel],
        seed: int,
        split: str = "select",
        snrs_db: Sequence[float] = (),
        latency: PairedLatency | None = None,
    ) -> None:
        self.evaluator = evaluator
        self.channels = tuple(channels)
        self.provenance: dict[str, Any] = {
            "split": split,
            "data_digest": evaluator.images.digest(),
            "seed": seed,
            "versions": VERSIONS,
        }
        self.seed = seed
        self._snrs_db = tuple(sorted(set(snrs_db)))
        self._latency = latency
        # Policies that differ only in rate and limit share the work of the blocks when they come one after another.
        self._latest: tuple[tuple[float, ...], list[tuple[NDArray[np.int64], Transformed]]] = ((), [])

    def measure(self, policy: Policy) -> tuple[MeasuredPolicy, ...]:
        """Measure one policy on every channel, with its frames capped at the 95% quantile of its own uses.

        Raises:
            InvalidRequestError: it does not fit the bundle.
            BundleError: the bundle has no unmerged reference to compare with.
        """
        check_policy(policy, self.evaluator.bundle)
        parts = self._transform(policy.thresholds)
        cap = self._p95_tokens(parts, policy) * policy.symbols_per_token
        wanted = {
            replace(channel, snr_db=snr_db) for channel in self.channels for snr_db in (channel.snr_db, *self._snrs_db)
        }
        # The encoder is told the SNR, and no more of a channel.
        alike: dict[tuple[float, Csi], list[Channel]] = {}
        for one in sorted(wanted, key=lambda channel: (channel.model, channel.snr_db)):
            alike.setdefault((one.snr_db, one.csi), []).append(one)
        found: dict[Channel, Measurement] = {}
        for group in alike.values():
            measured = self.evaluator.measure_over(
                parts, policy.symbols_per_token, group, self.seed, cap, policy.max_tokens
            )
            found.update(zip(group, measured, strict=True))
        timed = None if self._latency is None else self._latency.measure(policy)
        return tuple(self._record(policy, channel, found, timed) for channel in self.channels)

    def measure_with(self, policy: Policy, relatives: Sequence[Policy]) -> list[tuple[MeasuredPolicy, ...]]:
        """Measure a policy, then others of its thresholds; those whose limit on the tokens no image meets are left out.

        Returns:
            for each policy, one for each channel.

        Raises:
            InvalidRequestError, BundleError: as for `measure`.
        """
        found = [self.measure(policy)]
        most = max(int(part.tokens.counts.max()) for _, part in self._transform(policy.thresholds))
        most += self.evaluator.bundle.prefix_tokens
        return found + [
            self.measure(one)
            for one in relatives
            # It is what the policy without a limit is, under another name.
            if one.max_tokens is None or one.max_tokens == policy.max_tokens or one.max_tokens < most
        ]

    def unmerged(self, channel: Channel | None = None) -> Objectives:
        """The objectives of the unmerged reference on a channel, the first where none is given."""
        measured = self.evaluator.unmerged(channel or self.channels[0], self.seed)
        objectives = measured.objectives(measured)
        if self._latency is None:
            return objectives
        return replace(objectives, latency_ms=self._latency.reference_ms, latency_ms_se=0.0)

    def _transform(self, thresholds: tuple[float, ...]) -> list[tuple[NDArray[np.int64], Transformed]]:
        if self._latest[0] != thresholds:
            self._latest = thresholds, self.evaluator.transform(rules_for(thresholds))
        return self._latest[1]

    def _p95_tokens(self, parts: Sequence[tuple[NDArray[np.int64], Transformed]], policy: Policy) -> int:
        counts = np.concatenate([part.tokens.counts.cpu().numpy() for _, part in parts])
        tokens = int(np.quantile(counts, 0.95, method="inverted_cdf")) + self.evaluator.bundle.prefix_tokens
        return tokens if policy.max_tokens is None else min(tokens, policy.max_tokens)

    def _record(
        self,
        policy: Policy,
        channel: Channel,
        found: Mapping[Channel, Measurement],
        timed: tuple[float, float] | None,
    ) -> MeasuredPolicy:
        objectives = found[channel].objectives(self.evaluator.unmerged(channel, self.seed))
        if timed is not None:
            objectives = replace(objectives, latency_ms=timed[0], latency_ms_se=timed[1])
        curve = [
            self._accuracy(one, found[one])
            for one in (replace(channel, snr_db=snr_db) for snr_db in {*self._snrs_db, channel.snr_db})
        ]
        return MeasuredPolicy(
            policy=policy,
            bundle_digest=self.evaluator.bundle.digest,
            channel=channel,
            objectives=objectives,
            accuracy_by_snr=tuple(curve) if self._snrs_db else (),
            sensitive_below_db=sensitive_below(curve, channel.snr_db),
            provenance=self.provenance,
        )

    def _accuracy(self, channel: Channel, measured: Measurement) -> AccuracyAt:
        change, change_se = measured.change_from(self.evaluator.unmerged(channel, self.seed))
        return AccuracyAt(channel.snr_db, measured.accuracy, measured.accuracy_se, change, change_se)


def sensitive_below(curve: Sequence[AccuracyAt], at_db: float) -> float | None:
    """The highest SNR from which on downwards a policy loses faster than the unmerged reference.

    A policy falls faster where its paired difference from the reference is worse than at ``at_db``, by more than
    `LEAST_FALL` and `STANDARD_ERRORS` (of the difference of the two differences, taken as independent, which errs on
    the safe side: they share their images).

    Args:
        curve: the policy at several SNRs.
        at_db: where it is at home; one of the SNRs of the curve.

    Returns:
        the highest SNR of the curve below which that holds wherever it was measured, or None: it falls no faster, or
        the curve does not hold ``at_db``.
    """
    home = next((point for point in curve if point.snr_db == at_db), None)
    if home is None:
        return None
    found: float | None = None
    points = sorted((point for point in curve if point.snr_db <= at_db), key=lambda point: point.snr_db)
    # From the lowest SNR up: the run of points that fall faster ends at the first that does not.
    for lower, upper in pairwise(points):
        error = (lower.change_se**2 + home.change_se**2) ** 0.5
        if home.change - lower.change <= max(LEAST_FALL, STANDARD_ERRORS * error):
            break
        found = upper.snr_db
    return found
