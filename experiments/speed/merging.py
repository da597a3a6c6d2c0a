"""What a bundle's layers merge by: which tokens to compare, how to weigh them, whether attention minds their sizes.

``python -m experiments.speed.merging --data TRAIN --limit 2000`` runs the bundle's backbone under every combination of metric,
weight and proportional attention on a sample of *select*, each with a fixed number of tokens per layer (equal tokens
and equal compute, so that only the rule differs) and with one quantile of its own similarities as every layer's
threshold. Accuracy is the paired change from the unmerged reference, AWGN at 10 dB.
"""

import itertools
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from deploy.cli.common import print_json, table
from edge.torch_engine.engine import TorchEngine
from experiments.speed.arguments import parser_for
from offline.data.images import load, split_select
from offline.measure.box import QUANTILES, similarity_quantiles
from offline.measure.evaluator import Evaluator
from policies.record import ChannelProfile
from thinwire.bundle import Merging, load_bundle
from thinwire.nn.merging.tome import fixed_rules
from thinwire.nn.merging.transformer import rules_for

CHANNEL = ChannelProfile("awgn", 10.0)
RATE = 6
NUMBERS = (6, 9, 11, 16)
SHARES = (0.5, 0.25, 0.1)


def run(evaluator: Evaluator, seed: int) -> list[dict[str, Any]]:
    """Measure every combination; a row for each, with accuracy change, tokens and GMACs of each setting."""
    unmerged = evaluator.unmerged(CHANNEL, seed)
    layers = evaluator.bundle.split_layer
    rows = []
    for metric, weight, proportional in itertools.product(
        ("value", "value_head", "key", "key_mean"), ("norm", "size"), (False, True)
    ):
        bundle = replace(evaluator.bundle, merging=Merging(metric, weight, proportional, "attention"))
        engine = TorchEngine(bundle, evaluator.engine.tower, evaluator.engine.encoder)
        changed = Evaluator(bundle, engine, evaluator.judge, evaluator.images)
        quantiles = similarity_quantiles(engine, evaluator.images.even_sample(256))
        thresholds = {
            f"quantile {share:g}": [float(np.interp(share, QUANTILES, row)) for row in quantiles] for share in SHARES
        }
        settings = {f"r = {r}": fixed_rules(layers, r) for r in NUMBERS}
        settings |= {name: rules_for(values) for name, values in thresholds.items()}
        row: dict[str, Any] = {"metric": metric, "weight": weight, "proportional": proportional}
        for name, rules in settings.items():
            measured = changed.measure(changed.transform(rules), RATE, CHANNEL, seed)
            change, error = measured.change_from(unmerged)
            row[name] = {
                "change": change,
                "change_se": error,
                "tokens": float(measured.tokens.mean()),
                "edge_gmacs": float(measured.edge_gmacs.mean()),
            }
        print(row, file=sys.stderr)
        rows.append(row)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    options = parser_for(__doc__).parse_args(arguments)
    bundle = load_bundle(options.bundle)
    _, images = split_select(load(options.data, bundle.preprocessing, bundle.labels))
    rows = run(Evaluator.load(bundle, images.even_sample(options.limit) if options.limit else images), options.seed)
    if options.json:
        print_json(rows)
        return
    text = [
        {
            name: f"{100 * value['change']:+.2f} ({value['tokens']:.1f}, {value['edge_gmacs']:.4f})"
            if isinstance(value, dict)
            else str(value)
            for name, value in row.items()
        }
        for row in rows
    ]
    print(table(text))


if __name__ == "__main__":
    main()
