"""What a searched policy must beat: simpler policies, token merging with a fixed number, fewer patches, or no tokens.

All meet the same images and the same keyed noise as the policies do.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from edge.torch_engine import TorchEngine
from offline.measure.evaluator import Evaluator, Measurement
from offline.measure.fewer_patches import (
    Parts,
    can_prune,
    has_lone_class_token,
    measure_class_token,
    prune,
    scale_down,
    smaller_sides,
)
from offline.measure.judges import LabelJudge
from offline.measure.meter import PolicyMeter
from offline.measure.on_device import OnDevice
from offline.measure.studies import check_study, open_study
from offline.measure.workers import Task
from policies.policy import Objectives, Policy
from policies.store import Store
from policies.study import Baseline
from thinwire.bundle import load_bundle
from thinwire.nn.merging.tome import TOME, fixed_rules
from thinwire.nn.merging.transformer import rules_for

ONE_THRESHOLD = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.2, 0.0)
# Of the tokens, behind the last layer; a searched policy may have one, and what it gains must not be taken for the
# gain of its thresholds.
LIMITS = (1, 4, 12)
# Shares of the patches that are left by pruning at random.
KEPT = (0.9, 0.75, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)


def measure_baselines(store: Store, name: str, task: Task) -> Iterator[Baseline]:
    """Measure all baselines into a study, which is made if the store does not have it; what it has is left out.

    Yields:
        one after another; each is in the store by then.

    Raises:
        StoreError: the study is another one.
        BundleError: the bundle has no unmerged reference to compare with.
    """
    begun = next((study for study in store.studies() if study.name == name), None)
    if begun is not None:
        check_study(begun, task)
    baselines = Baselines(task.meter())
    study = begun or open_study(store, name, load_bundle(str(task.bundle)), task, {})
    for baseline in baselines.measure(store.baselines(study)):
        store.add_baseline(study, baseline)
        yield baseline


@dataclass(frozen=True)
class Candidate:
    """A baseline that is not measured yet; family and parameters as in `Baseline`.

    Attributes:
        measured: measures it, image by image.
        unmerged: what the unmerged reference gave on the same images.
    """

    family: str
    parameters: dict[str, Any]
    measured: Callable[[], Measurement]
    unmerged: Measurement = field(repr=False)

    def measure(self) -> Objectives:
        """Its figures, as the store keeps them."""
        return self.measured().objectives(self.unmerged)


class Baselines:
    """Measures the baselines of one bundle on one channel.

    Args:
        meter: what measures the policies; its images, first channel and seed are taken.
    """

    def __init__(self, meter: PolicyMeter) -> None:
        self._evaluator = meter.evaluator
        self._bundle = meter.evaluator.bundle
        self._channel = meter.channels[0]
        self._seed = meter.seed
        self._unmerged = meter.evaluator.unmerged(self._channel, meter.seed)
        self.on_device = OnDevice(self._evaluator, self._channel, self._seed)
        # Only the latest: whatever shares the work of the blocks is measured one after another.
        self._latest: tuple[Hashable, Evaluator, Parts] | None = None

    def measure(self, held: Iterable[Baseline] = ()) -> Iterator[Baseline]:
        """Measure one baseline after another, family by family, but for those that are ``held`` already."""
        known = {_name(one) for one in held}
        for one in self.candidates():
            if _name(one) not in known:
                yield Baseline(one.family, one.parameters, one.measure())

    def candidates(self) -> Iterator[Candidate]:
        """All baselines, family by family. Those of a family share work if they are measured in this order."""
        yield from self.without_merging()
        yield from self.pooled_token()
        yield from self.class_token()
        whole, least = self._bundle.prefix_tokens + self._bundle.patches, self._evaluator.engine.least_tokens
        limits = [None, *(limit for limit in LIMITS if least <= limit < whole)]
        yield from self.one_threshold(limits)
        # Both would tear tokens in a row out of their order.
        if not self._bundle.merging.neighbours:
            yield from self.tome(limits)
            yield from self.random_pruning()
        # What a device says of its own that answers questions, the cloud would have to ask it again for each.
        if isinstance(self._evaluator.judge, LabelJudge):
            yield from self.down_sampled()
            yield self._candidate("logits", {}, self.on_device.logits)
            yield self._candidate("label", {}, self.on_device.label)

    def without_merging(self) -> Iterator[Candidate]:
        """Family "unmerged": lower the rate instead."""
        for rate in self._bundle.codec.rates:
            policy = Policy.unmerged(self._bundle.steps, rate)
            yield self._candidate("unmerged", {"symbols_per_token": rate}, partial(self.policy, policy))

    def one_threshold(self, limits: Sequence[int | None] = (None,)) -> Iterator[Candidate]:
        """Family "one-threshold": the same threshold at every layer; "one-threshold-limited" with a limit, too."""
        for threshold in ONE_THRESHOLD:
            for limit, rate in product(limits, self._bundle.codec.rates):
                policy = Policy.create([threshold] * self._bundle.steps, rate, limit)
                family, parameters = _limited("one-threshold", limit)
                parameters |= {"threshold": threshold, "symbols_per_token": rate}
                yield self._candidate(family, parameters, partial(self.policy, policy))

    def tome(self, limits: Sequence[int | None] = (None,)) -> Iterator[Candidate]:
        """Family "tome": a fixed number of tokens at every layer, over all numbers that still differ.

        With a limit behind the last layer, too, which ToMe does not have: "tome-limited".
        """
        layers = self._bundle.steps
        evaluator = self._with_merging(metric=TOME.metric, weight=TOME.weight, place=TOME.place,
                                       proportional_attention=TOME.proportional_attention)  # fmt: skip
        for r in range(1, self._bundle.patches // 2 + 1):

            def merged(r: int = r) -> tuple[Evaluator, Parts]:
                return evaluator, evaluator.transform(fixed_rules(layers, r))

            shared = partial(self._shared, ("tome", r), merged)
            for limit in limits:
                family, parameters = _limited("tome", limit)
                yield from self._at_every_rate(family, parameters | {"r": r}, shared, limit)

    def pooled_token(self) -> Iterator[Candidate]:
        """Family "pooled-token": the mean of all patches alone, the class token alone, or both, as the head reads them.

        The mean is taken by the engine's own rounds of merging, whose matching counts as it does for a policy's limit.
        """
        evaluator = self._with_merging(weight="size")

        def shared() -> tuple[Evaluator, Parts]:
            return evaluator, self._unmerged_parts()

        yield from self._at_every_rate("pooled-token", {}, shared, evaluator.engine.least_tokens)

    def class_token(self) -> Iterator[Candidate]:
        """Family "class-token": that alone, where the head reads the mean of the patches beside it."""
        if not has_lone_class_token(self._evaluator):
            return

        def measure(rate: int) -> Measurement:
            parts = self._unmerged_parts()
            return measure_class_token(self._evaluator, parts, rate, self._channel, self._seed)

        for rate in self._bundle.codec.rates:
            yield self._candidate("class-token", {"symbols_per_token": rate}, partial(measure, rate))

    def random_pruning(self) -> Iterator[Candidate]:
        """Family "random": a share of the patches, drawn at random once before the first layer."""
        if not can_prune(self._evaluator):
            return
        for kept in sorted({max(1, round(share * self._bundle.patches)) for share in KEPT}, reverse=True):

            def pruned(kept: int = kept) -> tuple[Evaluator, Parts]:
                return self._evaluator, prune(self._evaluator, kept, self._seed)

            shared = partial(self._shared, ("random", kept), pruned)
            yield from self._at_every_rate("random", {"patches": kept}, shared)

    def down_sampled(self) -> Iterator[Candidate]:
        """Family "down-sampled": the same model on a smaller photograph."""
        for side in smaller_sides(self._evaluator):

            def scaled(side: int = side) -> tuple[Evaluator, Parts]:
                evaluator = scale_down(self._evaluator, side)
                return evaluator, evaluator.transform([None] * self._bundle.steps)

            shared = partial(self._shared, ("down-sampled", side), scaled)
            yield from self._at_every_rate("down-sampled", {"patches": side**2}, shared)

    def policy(self, policy: Policy) -> Measurement:
        """A policy as `PolicyMeter` measures it: its frames are capped at the 95% quantile of their own uses."""
        parts = self._merged_by(policy.thresholds)
        counts = np.concatenate([part.tokens.counts.cpu().numpy() for _, part in parts])
        tokens = int(np.quantile(counts, 0.95, method="inverted_cdf")) + self._bundle.prefix_tokens
        most = tokens if policy.max_tokens is None else min(tokens, policy.max_tokens)
        rate = policy.symbols_per_token
        return self._evaluator.measure(parts, rate, self._channel, self._seed, most * rate, policy.max_tokens)

    def _candidate(self, family: str, parameters: dict[str, Any], measured: Callable[[], Measurement]) -> Candidate:
        return Candidate(family, parameters, measured, self._unmerged)

    def _shared(self, key: Hashable, compute: Callable[[], tuple[Evaluator, Parts]]) -> tuple[Evaluator, Parts]:
        """What all rates and limits share, which is the costly part."""
        if self._latest is None or self._latest[0] != key:
            # The old must be gone before the new is there: each may be hundreds of megabytes.
            self._latest = None
            self._latest = key, *compute()
        return self._latest[1:]

    def _merged_by(self, thresholds: tuple[float, ...]) -> Parts:
        rules = rules_for(thresholds)
        return self._shared(thresholds, lambda: (self._evaluator, self._evaluator.transform(rules)))[1]

    def _unmerged_parts(self) -> Parts:
        return self._merged_by(Policy.unmerged(self._bundle.steps, 1).thresholds)

    def _at_every_rate(
        self,
        family: str,
        parameters: dict[str, Any],
        shared: Callable[[], tuple[Evaluator, Parts]],
        limit: int | None = None,
    ) -> Iterator[Candidate]:
        def measure(rate: int) -> Measurement:
            evaluator, parts = shared()
            return evaluator.measure(parts, rate, self._channel, self._seed, max_tokens=limit)

        for rate in self._bundle.codec.rates:
            yield self._candidate(family, {**parameters, "symbols_per_token": rate}, partial(measure, rate))

    def _with_merging(self, **fields: Any) -> Evaluator:
        engine = self._evaluator.engine
        bundle = replace(self._bundle, merging=replace(self._bundle.merging, **fields))
        changed = TorchEngine(bundle, engine.tower, engine.encoder)
        return Evaluator(bundle, changed, self._evaluator.judge, self._evaluator.images)


def _limited(family: str, limit: int | None) -> tuple[str, dict[str, Any]]:
    return (family, {}) if limit is None else (f"{family}-limited", {"max_tokens": limit})


def _name(one: Baseline | Candidate) -> tuple[str, frozenset[tuple[str, Any]]]:
    return one.family, frozenset(one.parameters.items())
