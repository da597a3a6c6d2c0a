"""What a bundle's layers merge by: which tokens to compare, how to weigh them, whether attention minds their sizes."""

import itertools
from dataclasses import replace
from typing import get_args

import numpy as np

from edge.torch_engine import TorchEngine
from experiments.harness.experiment import Experiment
from experiments.harness.options import BUNDLE, LIMIT
from experiments.harness.report import Cell, Estimate, Report, Table
from experiments.harness.setting import TRAIN, Setting
from offline.data.sources import SELECT
from offline.measure.box import QUANTILES, similarity_quantiles
from offline.measure.evaluator import Evaluator
from thinwire.bundle import Merging
from thinwire.bundle.parts import Metric, Weight
from thinwire.channels import Channel
from thinwire.nn.merging.tome import fixed_rules
from thinwire.nn.merging.transformer import rules_for

CHANNEL = Channel("awgn", 10.0)
RATE = 6
METRICS: tuple[Metric, ...] = get_args(Metric)
WEIGHTS: tuple[Weight, ...] = get_args(Weight)
NUMBERS = (6, 9, 11, 16)
SHARES = (0.5, 0.25, 0.1)


def run(setting: Setting) -> Report:
    """Measure every combination; see `EXPERIMENT`."""
    bundle = setting.bundle
    evaluator = Evaluator.load(bundle, setting.images(bundle, SELECT, setting.options.limit))
    unmerged = evaluator.unmerged(CHANNEL, setting.seed)
    rows: list[dict[str, Cell]] = []
    for metric, weight, proportional in itertools.product(METRICS, WEIGHTS, (False, True)):
        changed_bundle = replace(bundle, merging=Merging(metric, weight, proportional, "attention"))
        engine = TorchEngine(changed_bundle, evaluator.engine.tower, evaluator.engine.encoder)
        changed = Evaluator(changed_bundle, engine, evaluator.judge, evaluator.images)
        quantiles = similarity_quantiles(engine, evaluator.images.even_sample(256))
        ways = {f"r = {r}": fixed_rules(bundle.split_layer, r) for r in NUMBERS}
        for share in SHARES:
            thresholds = [float(np.interp(share, QUANTILES, row)) for row in quantiles]
            ways[f"quantile {share:g}"] = rules_for(thresholds)
        for name, rules in ways.items():
            measured = changed.measure(changed.transform(rules), RATE, CHANNEL, setting.seed)
            change, se = measured.change_from(unmerged)
            rows.append({
                "metric": metric,
                "weight": weight,
                "sizes in attention": "yes" if proportional else "no",
                "merged": name,
                "change, points": Estimate(100 * change, 100 * se),
                "tokens": float(measured.tokens.mean()),
                "edge GMACs": float(measured.edge_gmacs.mean()),
            })  # fmt: skip
    return Report([Table("By each rule", rows, {"change, points": 2, "edge GMACs": 4})])


EXPERIMENT = Experiment(
    name="merging",
    title="What layers merge by",
    about="""
A bundle's backbone under every combination of metric, weight and proportional attention on *select*, each with a fixed
number r of tokens per layer (equal tokens and equal compute, so that only the rule differs) and with one quantile of
its own similarities as every layer's threshold. Accuracy is the paired change from the unmerged reference, AWGN at
10 dB, six symbols per token.
""",
    run=run,
    data=(TRAIN,),
    options=BUNDLE | LIMIT,
)
