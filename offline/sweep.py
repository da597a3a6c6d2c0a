"""A measured sweep: Sobol points over the thresholds, every rate, kept in the store; then the front, measured anew."""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import qmc

from edge.torch_engine.engine import TorchEngine, Transformed
from edge.torch_engine.matching import Rule
from edge.torch_engine.vit import rules_for
from offline.data import LabelledImages
from offline.evaluate import Evaluator
from offline.recipe import SweepRecipe
from policies.front import Front
from policies.policy import Policy
from policies.record import ChannelProfile, MeasuredPolicy
from policies.store import Store
from policies.study import Study

log = logging.getLogger(__name__)
QUANTILES = np.linspace(0, 1, 41)
STAIRCASE_QUANTILES = (0.0, 0.1, 0.25, 0.5)
VERSIONS = {name: metadata.version(name) for name in ("torch", "timm", "numpy")}


def similarity_quantiles(engine: TorchEngine, images: LabelledImages) -> NDArray[np.float64]:
    """Where each layer's best similarities lie when nothing merges: a ``layers x len(QUANTILES)`` array.

    They are the box of the sweep: a threshold at the quantile q of its layer lets a share 1 - q of the sources merge,
    whatever scale the layer's similarities have.
    """
    layers = engine.bundle.split_layer
    seen: list[list[torch.Tensor]] = [[] for _ in range(layers)]

    def watch(layer: int) -> Rule:
        def rule(best: torch.Tensor) -> torch.Tensor:
            seen[layer].append(best.flatten())
            return torch.zeros_like(best, dtype=torch.bool)

        return rule

    engine.transform(images.pixels, [watch(layer) for layer in range(layers)])
    return np.stack([np.quantile(torch.cat(values).cpu().double().numpy(), QUANTILES) for values in seen])


def sobol_thresholds(quantiles: NDArray[np.float64], count: int, seed: int) -> list[tuple[float, ...]]:
    """Scrambled Sobol points in quantiles, as thresholds; the topmost twentieth of each axis skips its layer."""
    points = qmc.Sobol(len(quantiles), rng=np.random.default_rng(seed)).random(count)
    columns = [
        np.where(points[:, layer] > 0.95, 1.0, np.interp(points[:, layer], QUANTILES, quantiles[layer]))
        for layer in range(len(quantiles))
    ]
    return [tuple(float(value) for value in row) for row in np.stack(columns, axis=1)]


def staircase_thresholds(quantiles: NDArray[np.float64]) -> list[tuple[float, ...]]:
    """Only the last k layers merge, all at one quantile: the far ends of the front, which Sobol points seldom reach.

    With the quantile 0 every one of the k layers halves its tokens.
    """
    layers = len(quantiles)
    return [
        (1.0,) * (layers - last)
        + tuple(float(np.interp(quantile, QUANTILES, row)) for row in quantiles[layers - last :])
        for last in range(2, layers + 1)
        for quantile in STAIRCASE_QUANTILES
    ]


class Sweep:
    """Measures policies into a store, and goes on where it stopped.

    Args:
        evaluator: over images of the *select* split.
        store: where trials go.
        channel: what to measure the objectives on.
        seed: of the keyed noise.
    """

    def __init__(self, evaluator: Evaluator, store: Store, channel: ChannelProfile, seed: int) -> None:
        self.evaluator = evaluator
        self.store = store
        self.channel = channel
        self.seed = seed
        self._identity: dict[str, Any] = {
            "split": "select",
            "data_digest": evaluator.images.digest(),
            "seed": seed,
            "versions": VERSIONS,
        }

    def study(self, name: str) -> Study:
        """The study of that name, for this bundle, data and channel."""
        bundle = self.evaluator.bundle
        return self.store.study(
            name, bundle_name=bundle.name, bundle_digest=bundle.digest, channel=self.channel, **self._identity
        )

    def run(self, study: Study, policies: Iterable[Policy], snrs_db: Sequence[float] = ()) -> None:
        """Measure what the study does not hold yet.

        Args:
            policies: those with the same thresholds beside each other share the work of the blocks.
            snrs_db: where to measure accuracy beside the channel's own SNR.
        """
        wanted = list(policies)
        done = {measured.policy.digest for measured in self.store.trials(study)}
        missing = [policy for policy in wanted if policy.digest not in done]
        started = time.monotonic()
        thresholds: tuple[float, ...] | None = None
        transformed: list[Transformed] = []
        for index, policy in enumerate(missing, start=1):
            if policy.thresholds != thresholds:
                thresholds = policy.thresholds
                transformed = self.evaluator.transform(rules_for(thresholds))
            measured = self._measure(policy, transformed, snrs_db)
            self.store.add_trial(study, measured)
            left = (time.monotonic() - started) / index * (len(missing) - index)
            log.info(
                "%s %d/%d: %s accuracy %.4f, %.1f tokens, %.1f uses, %.0f s left",
                study.name, len(wanted) - len(missing) + index, len(wanted), policy.id, measured.objectives.accuracy,
                measured.objectives.tokens, measured.objectives.channel_uses, left,
            )  # fmt: skip

    def _measure(self, policy: Policy, transformed: Sequence[Transformed], snrs_db: Sequence[float]) -> MeasuredPolicy:
        rate = policy.symbols_per_token
        prefix = self.evaluator.bundle.prefix_tokens
        counts = np.concatenate([batch.tokens.counts.cpu().numpy() for batch in transformed]) + prefix
        cap = int(np.quantile(counts, 0.95, method="inverted_cdf")) * rate
        at = {
            snr_db: self.evaluator.measure(
                transformed, rate, ChannelProfile(self.channel.model, snr_db), self.seed, cap
            )
            for snr_db in {*snrs_db, self.channel.snr_db}
        }
        return MeasuredPolicy(
            policy=policy,
            bundle_digest=self.evaluator.bundle.digest,
            channel=self.channel,
            objectives=at[self.channel.snr_db].objectives(),
            accuracy_by_snr=tuple((snr_db, at[snr_db].accuracy, at[snr_db].accuracy_se) for snr_db in snrs_db),
            provenance=self._identity,
        )


def sweep_policies(engine: TorchEngine, images: LabelledImages, recipe: SweepRecipe, seed: int) -> Iterator[Policy]:
    """No merging, Sobol points and staircases, each at every rate of the codec."""
    quantiles = similarity_quantiles(engine, images)
    unmerged = (1.0,) * engine.bundle.split_layer
    for thresholds in (unmerged, *sobol_thresholds(quantiles, recipe.vectors, seed), *staircase_thresholds(quantiles)):
        for rate in engine.bundle.codec.rates:
            yield Policy.create(thresholds, rate)


def sweep(select: LabelledImages, evaluator: Evaluator, store: Store, recipe: SweepRecipe, seed: int) -> Front:
    """Compare all policies on a sample of *select*, then measure the best ones on the whole of it, at every SNR.

    The second pass thins out the luck that got a policy onto the first front. It does not remove it: the sample is part
    of *select*, and its images meet the same noise again. Only a split that chose nothing gives an unbiased figure.
    """
    bundle, channel = evaluator.bundle, ChannelProfile("awgn", recipe.snr_db)
    sample = Evaluator(bundle, evaluator.engine, evaluator.classifier, select.even_sample(recipe.images))
    first = Sweep(sample, store, channel, seed)
    tag = bundle.digest[:10]
    found = first.study(f"{bundle.name}-{tag}-sobol")
    first.run(found, sweep_policies(evaluator.engine, select.even_sample(256), recipe, seed))
    candidates = [measured.policy for measured in store.export_front(found).policies]
    second = Sweep(evaluator, store, channel, seed)
    measured_anew = second.study(f"{bundle.name}-{tag}-front")
    candidates.sort(key=lambda policy: (policy.thresholds, policy.symbols_per_token))
    second.run(measured_anew, candidates, recipe.front_snrs_db)
    return store.export_front(measured_anew)
