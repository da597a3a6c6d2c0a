"""Measuring policies as the store keeps them: objectives under the policy's own cap, and accuracy over SNR."""

from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.torch_engine.engine import Transformed
from edge.torch_engine.vit import rules_for
from offline.evaluate import Evaluator, Measurement
from offline.latency import PairedLatency
from policies.policy import Policy
from policies.record import AccuracyAt, ChannelProfile, MeasuredPolicy, Objectives
from policies.sensitivity import sensitive_below

VERSIONS = {name: metadata.version(name) for name in ("torch", "timm", "numpy")}


class PolicyMeter:
    """Measures one policy after another on one channel.

    Args:
        evaluator: over the images to measure on.
        channel: what the objectives are measured on.
        seed: of the keyed noise.
        split: name of the part of the data, for the provenance.
        snrs_db: where to measure accuracy beside the channel's own SNR.
        latency: measures the latency too, where that is an objective.

    Attributes:
        provenance: what every measurement states.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        channel: ChannelProfile,
        seed: int,
        split: str = "select",
        snrs_db: Sequence[float] = (),
        latency: PairedLatency | None = None,
    ) -> None:
        self.evaluator = evaluator
        self.channel = channel
        self.provenance: dict[str, Any] = {
            "split": split,
            "data_digest": evaluator.images.digest(),
            "seed": seed,
            "versions": VERSIONS,
        }
        self._seed = seed
        self._snrs_db = tuple(snrs_db)
        self._latency = latency
        # Policies that differ only in rate and limit share the work of the blocks when they come one after another.
        self._latest: tuple[tuple[float, ...], list[tuple[NDArray[np.int64], Transformed]]] = ((), [])

    def measure(self, policy: Policy) -> MeasuredPolicy:
        """Measure one policy.

        Raises:
            InvalidRequestError: it does not fit the bundle.
            BundleError: the bundle has no unmerged reference to compare with.
        """
        self.evaluator.engine.check(policy)
        parts = self._transform(policy.thresholds)
        cap = self._p95_tokens(parts, policy) * policy.symbols_per_token
        at = {snr_db: self._at(policy, parts, snr_db, cap) for snr_db in {*self._snrs_db, self.channel.snr_db}}
        here, unmerged = at[self.channel.snr_db]
        curve = tuple(_accuracy_at(snr_db, *at[snr_db]) for snr_db in self._snrs_db)
        return MeasuredPolicy(
            policy=policy,
            bundle_digest=self.evaluator.bundle.digest,
            channel=self.channel,
            objectives=self._timed(policy, here.objectives(unmerged)),
            accuracy_by_snr=curve,
            sensitive_below_db=sensitive_below(
                [_accuracy_at(snr_db, *measured) for snr_db, measured in at.items()], self.channel.snr_db
            ),
            provenance=self.provenance,
        )

    def unmerged(self) -> Objectives:
        """The objectives of the unmerged reference."""
        measured = self.evaluator.unmerged(self.channel, self._seed)
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

    def _at(
        self, policy: Policy, parts: Sequence[tuple[NDArray[np.int64], Transformed]], snr_db: float, cap: int
    ) -> tuple[Measurement, Measurement]:
        channel = replace(self.channel, snr_db=snr_db)
        measured = self.evaluator.measure(parts, policy.symbols_per_token, channel, self._seed, cap, policy.max_tokens)
        return measured, self.evaluator.unmerged(channel, self._seed)

    def _timed(self, policy: Policy, objectives: Objectives) -> Objectives:
        if self._latency is None:
            return objectives
        ms, error = self._latency.measure(policy)
        return replace(objectives, latency_ms=ms, latency_ms_se=error)


def _accuracy_at(snr_db: float, measured: Measurement, unmerged: Measurement) -> AccuracyAt:
    change, change_se = measured.change_from(unmerged)
    return AccuracyAt(snr_db, measured.accuracy, measured.accuracy_se, change, change_se)
