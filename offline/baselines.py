"""What a searched policy must beat: simpler policies, token merging with a fixed number, and sending no tokens at all.

All meet the same images and the same keyed noise as the policies do.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from policies.baseline import Baseline

from channel.keys import keyed_generator
from channel.models.registry import get
from channel.realisation import apply
from cloud.reception import receive
from edge.torch_engine.cost import EdgeCost
from edge.torch_engine.engine import TorchEngine
from edge.torch_engine.tome import TOME, fixed_rules
from offline.evaluate import LINK_ID, Evaluator, Measurement, request_id_of
from offline.meter import PolicyMeter
from offline.search import check_study, open_study
from offline.workers import Task
from policies.policy import Policy
from policies.store import Store
from thinwire.bundle import load_bundle
from thinwire.nn.macs import count_macs

ONE_THRESHOLD = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.2, 0.0)


def measure_baselines(store: Store, name: str, task: Task) -> Iterator[Baseline]:
    """Measure all baselines into a study, which is made if the store does not have it.

    Yields:
        one after another; each is in the store by then.

    Raises:
        StoreError: the study is another one.
    """
    begun = next((study for study in store.studies() if study.name == name), None)
    study = begun or open_study(store, name, load_bundle(str(task.bundle)), task, {})
    check_study(study, task)
    for baseline in Baselines(task.meter()).measure():
        store.add_baseline(study, baseline)
        yield baseline


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

    def measure(self) -> Iterator[Baseline]:
        """Measure one baseline after another, family by family."""
        yield from self.without_merging()
        yield from self.one_threshold()
        yield from self.tome()
        yield from self.pooled_token()
        yield self.logits()
        yield self.label()

    def without_merging(self) -> Iterator[Baseline]:
        """Family "unmerged": lower the rate instead."""
        for rate in self._bundle.codec.rates:
            policy = Policy.unmerged(self._bundle.split_layer, rate)
            yield Baseline("unmerged", {"symbols_per_token": rate}, self._meter.measure(policy)[0].objectives)

    def one_threshold(self) -> Iterator[Baseline]:
        """Family "one-threshold": the same threshold at every layer."""
        for threshold in ONE_THRESHOLD:
            for rate in self._bundle.codec.rates:
                (measured, *_) = self._meter.measure(Policy.create([threshold] * self._bundle.split_layer, rate))
                parameters = {"threshold": threshold, "symbols_per_token": rate}
                yield Baseline("one-threshold", parameters, measured.objectives)

    def tome(self) -> Iterator[Baseline]:
        """Family "tome": a fixed number of tokens at every layer, over all numbers that still differ."""
        layers = self._bundle.split_layer
        evaluator = self._with_merging(metric=TOME.metric, weight=TOME.weight, place=TOME.place,
                                       proportional_attention=TOME.proportional_attention)  # fmt: skip
        for r in range(1, self._bundle.patches // 2 + 1):
            parts = evaluator.transform(fixed_rules(layers, r))
            for rate in self._bundle.codec.rates:
                measured = evaluator.measure(parts, rate, self._channel, self._seed)
                yield self._baseline("tome", {"r": r, "symbols_per_token": rate}, measured)

    def pooled_token(self) -> Iterator[Baseline]:
        """Family "pooled-token": the mean of all tokens alone."""
        evaluator = self._with_merging(weight="size")
        parts = evaluator.transform([None] * self._bundle.split_layer)
        for rate in self._bundle.codec.rates:
            least = self._bundle.prefix_tokens + 1
            measured = evaluator.measure(parts, rate, self._channel, self._seed, max_tokens=least)
            yield self._baseline("pooled-token", {"symbols_per_token": rate}, measured)

    def logits(self) -> Baseline:
        """Family "logits": the device classifies, and sends its logits as symbols, two to a symbol."""
        scores = self._scores()
        centred = scores - scores.mean(axis=1, keepdims=True)
        padded = np.pad(centred, ((0, 0), (0, scores.shape[1] % 2)))
        symbols = (padded[:, 0::2] + 1j * padded[:, 1::2]).astype(np.complex64)
        symbols /= np.sqrt((np.abs(symbols) ** 2).mean(axis=1, keepdims=True))
        received = np.stack([self._send(row, name) for row, name in self._rows(symbols)])
        arrived = np.stack((received.real, received.imag), axis=2).reshape(len(scores), -1)[:, : scores.shape[1]]
        return self._on_device("logits", symbols.shape[1], arrived.astype(np.float32))

    def label(self) -> Baseline:
        """Family "label": the device classifies, and sends the label uncoded, two bits to a QPSK symbol."""
        scores = self._scores()
        classes = scores.shape[1]
        bits = 2 * math.ceil(math.log2(classes) / 2)
        sent = (scores.argmax(1)[:, None] >> np.arange(bits)) & 1
        symbols = ((1 - 2 * sent[:, 0::2]) + 1j * (1 - 2 * sent[:, 1::2])).astype(np.complex64) / np.sqrt(2)
        received = np.stack([self._send(row, name) for row, name in self._rows(symbols.astype(np.complex64))])
        decided = np.stack((received.real < 0, received.imag < 0), axis=2).reshape(len(scores), -1)
        labels = (decided.astype(np.int64) << np.arange(bits)).sum(1)
        arrived = (labels[:, None] == np.arange(classes)).astype(np.float32)
        # A label that does not exist is a wrong answer, whatever the class of the image.
        arrived[labels >= classes] = np.nan
        return self._on_device("label", symbols.shape[1], arrived)

    def _with_merging(self, **fields: Any) -> Evaluator:
        engine = self._evaluator.engine
        bundle = replace(self._bundle, merging=replace(self._bundle.merging, **fields))
        changed = TorchEngine(bundle, engine.model, engine.encoder)
        return Evaluator(bundle, changed, self._evaluator.classifier, self._evaluator.images)

    def _baseline(self, family: str, parameters: dict[str, Any], measured: Measurement) -> Baseline:
        return Baseline(family, parameters, measured.objectives(self._unmerged))

    def _scores(self) -> NDArray[np.float32]:
        pixels, classifier = self._evaluator.images.pixels, self._evaluator.classifier
        return np.concatenate([classifier.classify_images(pixels[i : i + 128]) for i in range(0, len(pixels), 128)])

    def _rows(self, symbols: NDArray[np.complex64]) -> Iterator[tuple[NDArray[np.complex64], str]]:
        return zip(symbols, self._evaluator.images.names, strict=True)

    def _send(self, symbols: NDArray[np.complex64], name: str) -> NDArray[np.complex64]:
        generator = keyed_generator(self._seed, LINK_ID, request_id_of(name), 0)
        drawn = get(self._channel.model).draw((1, len(symbols)), self._channel.snr_db, generator)
        arrived = receive(apply(symbols[None], drawn), complex(np.complex64(drawn.gain)), float(drawn.noise_variance))
        row: NDArray[np.complex64] = arrived.symbols[0]
        return row

    def _on_device(self, family: str, uses: int, arrived: NDArray[np.float32]) -> Baseline:
        images, model = self._evaluator.images, self._evaluator.engine.model
        known = ~np.isnan(arrived).any(1)
        cost = EdgeCost(model, len(model.blocks), self._bundle.merging, None)
        counts = np.full((1, len(model.blocks) + 1), self._bundle.patches)
        gmacs = float(cost.gmacs(counts, [False] * len(model.blocks), counts[:, -1])[0])
        gmacs += count_macs(model.head, torch.zeros(1, model.embed_dim)) / 1e9
        measured = Measurement(
            logits=arrived,
            correct=known & (np.nan_to_num(arrived).argmax(1) == images.labels),
            tokens=np.zeros(len(images), dtype=np.int64),
            uses=np.full(len(images), uses),
            capped=np.zeros(len(images), dtype=np.bool_),
            edge_gmacs=np.full(len(images), gmacs),
        )
        return self._baseline(family, {}, measured)
