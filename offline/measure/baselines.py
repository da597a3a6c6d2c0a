"""What a searched policy must beat: simpler policies, token merging with a fixed number, and sending no tokens at all.

All meet the same images and the same keyed noise as the policies do.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from channel.models.registry import get
from channel.realisation import apply, keyed_generator
from edge.torch_engine import TorchEngine, Transformed, count_edge
from offline.measure.cloud_cost import head_macs
from offline.measure.evaluator import LINK_ID, Evaluator, Measurement, request_id_of
from offline.measure.judges import LabelJudge
from offline.measure.meter import PolicyMeter
from offline.measure.studies import check_study, open_study
from offline.measure.workers import Task
from policies.policy import Objectives, Policy
from policies.store import Store
from policies.study import Baseline
from thinwire.bundle import load_bundle
from thinwire.equalise import receive
from thinwire.nn.merging.tome import TOME, fixed_rules
from thinwire.nn.towers.models import classifier_of

ONE_THRESHOLD = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.2, 0.0)
# Of the tokens, behind the last layer; a searched policy may have one, and what it gains must not be taken for the
# gain of its thresholds.
LIMITS = (1, 4, 12)


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
    """A baseline that is not measured yet; family and parameters as in `Baseline`."""

    family: str
    parameters: dict[str, Any]
    measure: Callable[[], Objectives]


class Baselines:
    """Measures the baselines of one bundle on one channel.

    Args:
        meter: what measures the policies; its images, first channel and seed are taken.
    """

    def __init__(self, meter: PolicyMeter) -> None:
        self._meter = meter
        self._evaluator = meter.evaluator
        self._bundle = meter.evaluator.bundle
        self._channel = meter.channels[0]
        self._seed = meter.seed
        self._unmerged = meter.evaluator.unmerged(self._channel, meter.seed)

    def measure(self, held: Iterable[Baseline] = ()) -> Iterator[Baseline]:
        """Measure one baseline after another, family by family, but for those that are ``held`` already."""
        known = {_name(one) for one in held}
        for one in self.candidates():
            if _name(one) not in known:
                yield Baseline(one.family, one.parameters, one.measure())

    def candidates(self) -> Iterator[Candidate]:
        """All baselines, family by family. Those of a family share work if they are measured in this order."""
        yield from self.without_merging()
        whole, least = self._bundle.prefix_tokens + self._bundle.patches, self._evaluator.engine.least_tokens
        for limits in ([None], [limit for limit in LIMITS if least <= limit < whole]):
            yield from self.one_threshold(limits)
            yield from self.tome(limits)
        yield from self.pooled_token()
        # What a device says of its own that answers questions, the cloud would have to ask it again for each.
        if isinstance(self._evaluator.judge, LabelJudge):
            yield Candidate("logits", {}, self.logits)
            yield Candidate("label", {}, self.label)

    def without_merging(self) -> Iterator[Candidate]:
        """Family "unmerged": lower the rate instead."""
        for rate in self._bundle.codec.rates:
            policy = Policy.unmerged(self._bundle.split_layer, rate)
            yield Candidate("unmerged", {"symbols_per_token": rate}, partial(self._policy, policy))

    def one_threshold(self, limits: Sequence[int | None] = (None,)) -> Iterator[Candidate]:
        """Family "one-threshold": the same threshold at every layer; "one-threshold-limited" with a limit, too."""
        for threshold in ONE_THRESHOLD:
            for limit, rate in product(limits, self._bundle.codec.rates):
                policy = Policy.create([threshold] * self._bundle.split_layer, rate, limit)
                family, parameters = _limited("one-threshold", limit)
                parameters |= {"threshold": threshold, "symbols_per_token": rate}
                yield Candidate(family, parameters, partial(self._policy, policy))

    def tome(self, limits: Sequence[int | None] = (None,)) -> Iterator[Candidate]:
        """Family "tome": a fixed number of tokens at every layer, over all numbers that still differ.

        With a limit behind the last layer, too, which ToMe does not have: "tome-limited".
        """
        layers = self._bundle.split_layer
        evaluator = self._with_merging(metric=TOME.metric, weight=TOME.weight, place=TOME.place,
                                       proportional_attention=TOME.proportional_attention)  # fmt: skip
        for r in range(1, self._bundle.patches // 2 + 1):
            transform = cache(partial(evaluator.transform, fixed_rules(layers, r)))
            for limit in limits:
                family, parameters = _limited("tome", limit)
                yield from self._at_every_rate(family, parameters | {"r": r}, evaluator, transform, limit)

    def pooled_token(self) -> Iterator[Candidate]:
        """Family "pooled-token": the mean of all tokens alone, or the class token alone where the head reads that.

        The mean is taken by the engine's own rounds of merging, whose matching counts as it does for a policy's limit.
        """
        evaluator = self._with_merging(weight="size")
        transform = cache(partial(evaluator.transform, [None] * self._bundle.split_layer))
        yield from self._at_every_rate("pooled-token", {}, evaluator, transform, evaluator.engine.least_tokens)

    def logits(self) -> Objectives:
        """Family "logits": the device classifies, and sends its logits as symbols, two to a symbol."""
        centred = self._scores - self._scores.mean(axis=1, keepdims=True)
        padded = np.pad(centred, ((0, 0), (0, centred.shape[1] % 2)))
        symbols = (padded[:, 0::2] + 1j * padded[:, 1::2]).astype(np.complex64)
        symbols /= np.sqrt((np.abs(symbols) ** 2).mean(axis=1, keepdims=True))
        received = self._send(symbols)
        arrived = np.stack((received.real, received.imag), axis=2).reshape(len(received), -1)
        return self._on_device(symbols.shape[1], arrived[:, : centred.shape[1]])

    def label(self) -> Objectives:
        """Family "label": the device classifies and sends the label uncoded, two bits to a QPSK symbol.

        The cloud takes the label whose symbols are nearest to what arrived.
        """
        labels = np.arange(self._scores.shape[1])
        bits = (labels[:, None] >> np.arange(2 * max(1, math.ceil(math.log2(len(labels)) / 2)))) & 1
        words = ((1 - 2 * bits[:, 0::2]) + 1j * (1 - 2 * bits[:, 1::2])).astype(np.complex64) / np.float32(np.sqrt(2))
        # All words have one energy, so that the nearest is the one of the greatest correlation.
        arrived = (self._send(words[self._scores.argmax(1)]) @ words.conj().T).real
        return self._on_device(words.shape[1], arrived)

    def _policy(self, policy: Policy) -> Objectives:
        return self._meter.measure(policy)[0].objectives

    def _at_every_rate(
        self,
        family: str,
        parameters: dict[str, Any],
        evaluator: Evaluator,
        transform: Callable[[], list[tuple[NDArray[np.int64], Transformed]]],
        limit: int | None,
    ) -> Iterator[Candidate]:
        def measure(rate: int) -> Objectives:
            measured = evaluator.measure(transform(), rate, self._channel, self._seed, max_tokens=limit)
            return measured.objectives(self._unmerged)

        for rate in self._bundle.codec.rates:
            yield Candidate(family, {**parameters, "symbols_per_token": rate}, partial(measure, rate))

    def _with_merging(self, **fields: Any) -> Evaluator:
        engine = self._evaluator.engine
        bundle = replace(self._bundle, merging=replace(self._bundle.merging, **fields))
        changed = TorchEngine(bundle, engine.tower, engine.encoder)
        return Evaluator(bundle, changed, self._evaluator.judge, self._evaluator.images)

    @property
    def _judge(self) -> LabelJudge:
        judge = self._evaluator.judge
        assert isinstance(judge, LabelJudge)
        return judge

    @cached_property
    def _scores(self) -> NDArray[np.float32]:
        """The plain model's logits, ``images x classes``."""
        pixels, classifier = self._evaluator.images.pixels, self._judge.classifier
        return np.concatenate([classifier.classify_images(pixels[i : i + 128]) for i in range(0, len(pixels), 128)])

    def _send(self, symbols: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """What the cloud has of each image's row of symbols, equalised."""
        return np.stack([self._send_row(*row) for row in zip(symbols, self._evaluator.images.names, strict=True)])

    def _send_row(self, symbols: NDArray[np.complex64], name: str) -> NDArray[np.complex64]:
        generator = keyed_generator(self._seed, LINK_ID, request_id_of(name), 0)
        drawn = get(self._channel.model).draw((1, len(symbols)), self._channel.snr_db, generator)
        arrived = receive(apply(symbols[None], drawn), complex(np.complex64(drawn.gain)), float(drawn.noise_variance))
        row: NDArray[np.complex64] = arrived.symbols[0]
        return row

    def _on_device(self, uses: int, arrived: NDArray[np.float32]) -> Objectives:
        labels, model = self._judge.labels, self._judge.classifier.model
        tower = self._evaluator.engine.tower
        cost = count_edge(tower, tower.depth, self._bundle.merging, None)
        counts = np.full((1, tower.depth + 1), self._bundle.patches)
        gmacs = float(cost.gmacs(counts, [False] * tower.depth, counts[:, -1])[0])
        gmacs += head_macs(classifier_of(model)) / 1e9
        measured = Measurement(
            logits=arrived,
            right=(arrived.argmax(1) == labels).astype(np.int64),
            asked=np.ones(len(labels), dtype=np.int64),
            tokens=np.zeros(len(labels), dtype=np.int64),
            uses=np.full(len(labels), uses),
            capped=np.zeros(len(labels), dtype=np.bool_),
            edge_gmacs=np.full(len(labels), gmacs),
        )
        return measured.objectives(self._unmerged)


def _limited(family: str, limit: int | None) -> tuple[str, dict[str, Any]]:
    return (family, {}) if limit is None else (f"{family}-limited", {"max_tokens": limit})


def _name(one: Baseline | Candidate) -> tuple[str, frozenset[tuple[str, Any]]]:
    return one.family, frozenset(one.parameters.items())
