"""What a bundle's layers merge by: which tokens to compare, how to weigh them, whether attention minds their sizes."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, replace
from functools import partial
from itertools import product
from typing import Any, get_args

from numpy.typing import NDArray
from torch import Tensor

from edge.torch_engine import TorchEngine
from experiments.harness.experiment import Experiment
from experiments.harness.options import BUNDLE, LIMIT, Option
from experiments.harness.report import Cell, Estimate, Report, Table
from experiments.harness.setting import TRAIN, Setting
from offline.data.sources import SELECT
from offline.measure.box import QUANTILES, similarity_quantiles
from offline.measure.evaluator import Evaluator
from offline.measure.inputs import inputs_of
from thinwire.bundle import Bundle, Merging
from thinwire.bundle.parts import Metric, Weight
from thinwire.channels import Channel
from thinwire.nn.attention import Attended
from thinwire.nn.merging.tome import fixed_rules
from thinwire.nn.merging.transformer import rules_for
from thinwire.nn.towers.interface import Tower

CHANNEL = Channel("awgn", 10.0)
RATE = 6
METRICS: tuple[Metric, ...] = get_args(Metric)
WEIGHTS: tuple[Weight, ...] = get_args(Weight)
# Tokens that merge at each layer, as a share of the patches over the layers: 6, 9, 11 and 16 where six layers have 64.
SHARES = (0.56, 0.84, 1.03, 1.5)
# Images that the thresholds are found on.
SAMPLE = 64
RAW_KEY = "key, its mean left in"


@dataclass(frozen=True)
class Variant:
    """One rule, its evaluator, and what the unmerged reference gave on the same images and noise."""

    metric: str
    evaluator: Evaluator
    unmerged: Callable[[], Any]

    def measure(self, way: str, r: int, seed: int) -> dict[str, Any]:
        """Merge ``r`` tokens at each layer, of each image or on average, and say what that gives."""
        engine, images = self.evaluator.engine, self.evaluator.images
        if way == "number":
            rules = fixed_rules(engine.bundle.steps, r)
        else:
            rules = rules_for(equal_thresholds(engine, inputs_of(images.even_sample(SAMPLE), engine), r))
        measured = self.evaluator.measure(self.evaluator.transform(rules), RATE, CHANNEL, seed)
        change, se = measured.change_from(self.unmerged())
        tokens, gmacs = float(measured.tokens.mean()), float(measured.edge_gmacs.mean())
        return {"change": 100 * change, "se": 100 * se, "tokens": tokens, "edge GMACs": gmacs}

    def medians(self) -> list[float]:
        """Of the sources' best cosines where nothing merges, by layer."""
        sample = self.evaluator.images.even_sample(SAMPLE)
        return [float(row[len(QUANTILES) // 2]) for row in similarity_quantiles(self.evaluator.engine, sample)]


def equal_thresholds(engine: TorchEngine, pixels: NDArray[Any], r: int) -> list[float]:
    """Thresholds by which ``r`` tokens of these images merge at each layer on average; or all sources, if fewer.

    So rules whose similarities have other scales can be compared at equal numbers of tokens.

    Args:
        pixels: as `TorchEngine.transform` takes them.
    """
    found: list[float] = []

    def rule(best: Tensor) -> Tensor:
        ordered = best[best.isfinite()].sort(descending=True).values
        count = r * len(best)
        found.append(float(ordered[count - 1 : count + 1].mean()) if count < len(ordered) else -1.0)
        return best > found[-1]

    layers = engine.bundle.steps
    engine.transform(pixels, [rule] * layers)
    # No rule is asked where every image has one token left.
    return found + [1.0] * (layers - len(found))


def keys_as_values(tower: Tower) -> Tower:
    """A tower that shows its keys as values, so that the metric "value" compares them as they are."""
    changed = copy.copy(tower)

    def attend(inner: Callable[..., Attended], *arguments: Any) -> Attended:
        attended = inner(*arguments)
        return attended._replace(values=attended.keys)

    for name in ("attend", "attend_at"):
        if hasattr(tower, name):
            setattr(changed, name, partial(attend, getattr(tower, name)))
    return changed


def run(setting: Setting) -> Report:
    """Measure every combination; see `EXPERIMENT`."""
    bundle = setting.bundle
    evaluator = Evaluator.load(bundle, setting.images(bundle, SELECT, setting.options.limit))
    counts = [round(share * bundle.patches / bundle.steps) for share in SHARES]
    rows: list[dict[str, Cell]] = []
    medians: dict[str, list[float]] = {}
    for variant in _variants(evaluator, setting):
        merging = variant.evaluator.bundle.merging
        name = f"{variant.metric} {astuple(merging)}"
        for way, r in product(("number", "thresholds"), counts):
            found = setting.kept(f"{name} {way} {r}", partial(variant.measure, way, r, setting.seed))
            rows.append({
                "metric": variant.metric,
                "weight": merging.weight,
                "sizes in attention": "yes" if merging.proportional_attention else "no",
                "merged": f"r = {r}" if way == "number" else f"{r} on average",
                "change, points": Estimate(found["change"], found["se"]),
                "tokens": found["tokens"],
                "edge GMACs": found["edge GMACs"],
            })  # fmt: skip
        if variant.metric not in medians:
            medians[variant.metric] = setting.kept(f"{name} medians", variant.medians)
    layers = [str(layer) for layer in range(1, bundle.steps + 1)]
    levels: list[dict[str, Cell]] = [
        {"metric": metric, **dict(zip(layers, values, strict=True))} for metric, values in medians.items()
    ]
    return Report([
        Table("By each rule", rows, {"change, points": 2, "edge GMACs": 4}),
        Table("Median of the sources' best cosines where nothing merges, by layer", levels, dict.fromkeys(layers, 2)),
    ])  # fmt: skip


def _variants(evaluator: Evaluator, setting: Setting) -> Iterator[Variant]:
    bundle, engine = evaluator.bundle, evaluator.engine
    own = bundle.merging
    averages = list(product(WEIGHTS, (False, True)))
    if setting.options.metrics_only:
        averages = [(own.weight, own.proportional_attention)]

    def variant(metric: str, merging: Merging, tower: Tower) -> Variant:
        changed: Bundle = replace(bundle, merging=merging)
        beside = TorchEngine(changed, tower, engine.encoder)
        own_evaluator = Evaluator(changed, beside, evaluator.judge, evaluator.images)
        return Variant(metric, own_evaluator, partial(evaluator.unmerged, CHANNEL, setting.seed))

    for metric, average in product(METRICS, averages):
        yield variant(metric, Merging(metric, *average, "attention"), engine.tower)
    for average in averages:
        yield variant(RAW_KEY, Merging("value", *average, "attention"), keys_as_values(engine.tower))


EXPERIMENT = Experiment(
    name="merging",
    title="What layers merge by",
    about="""
A bundle's backbone under every combination of metric, weight and proportional attention on *select*. Each merges the
same numbers of tokens, so that only the rule differs: at each layer r tokens of every image, or as many on average over
64 images, by one threshold for each layer. Accuracy is the paired change from the unmerged reference, AWGN at 10 dB,
six symbols per token. "key" is compared less the image's mean key; beside it stand the keys as they are, whose cosines
depend on a vector that all keys share and that no attention sees. With `--metrics-only`, weights and sizes in attention
are the bundle's own.
""",
    run=run,
    data=(TRAIN,),
    options=BUNDLE
    | LIMIT
    | {"metrics_only": Option(False, "compare metrics alone; weights and sizes in attention as the bundle has them")},
)
