"""Where compute and tokens go, layer by layer: the unmodified model, ToMe with a fixed number, and ours."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from edge.engine import EdgeCost
from edge.torch_engine import TorchEngine
from experiments.harness.experiment import Experiment
from experiments.harness.options import BUNDLE, LIMIT
from experiments.harness.report import Curve, Estimate, Plot, Report, Table
from experiments.harness.setting import Setting, three_policies
from offline.measure.box import QUANTILES, similarity_quantiles
from offline.measure.evaluator import Evaluator
from offline.measure.fewer_patches import Parts, can_prune, prune, scale_down, smaller_sides
from policies.policy import Policy
from thinwire.channels import Channel
from thinwire.nn.merging.matching import Rule
from thinwire.nn.merging.tome import TOME, fixed_rules
from thinwire.nn.merging.transformer import rules_for

CHANNEL = Channel("awgn", 10.0)
TOME_R = (4, 8, 12, 16)
# Shares of the patches.
LEFT = (0.5, 0.25)
SHOWN = (0.05, 0.25, 0.5, 0.75, 0.95)
SAMPLE = 1000
ACCURACY = "accuracy, %"


def parts_of(cost: EdgeCost, counts: list[int], merged: tuple[bool, ...], final: int) -> dict[str, float]:
    """MACs of one image by what they are spent on, in 10^9; the arguments are those of `EdgeCost.macs`."""
    whole = cost.macs(counts, merged, final)
    unsent = replace(cost, encoder=0, encoder_attention=0)
    layers = replace(unsent, embedding=0).macs(counts, [False] * len(merged), counts[-1])
    encoder = whole - unsent.macs(counts, merged, final)
    matching = whole - cost.embedding - layers - encoder
    found = {"embedding": cost.embedding, "layers": layers, "matching": matching, "encoder": encoder}
    return {name: macs / 1e9 for name, macs in found.items()}


def _rows(
    label: str, evaluator: Evaluator, transform: Callable[[Evaluator], Parts], policy: Policy, seed: int
) -> tuple[dict[str, Any], dict[str, Any], list[float]]:
    parts = transform(evaluator)
    measured = evaluator.measure(parts, policy.symbols_per_token, CHANNEL, seed, max_tokens=policy.max_tokens)
    counts = np.zeros((len(evaluator.images), evaluator.bundle.steps + 1), dtype=np.int64)
    for images, part in parts:
        counts[images] = part.counts.cpu().numpy()
    merged = parts[0][1].merged
    each = [
        parts_of(evaluator.engine.cost, row, merged, final)
        for row, final in zip(counts.tolist(), measured.tokens.tolist(), strict=True)
    ]
    gmacs = {f"{name}, GMACs": float(np.mean([one[name] for one in each])) for name in each[0]}
    tokens = counts.mean(0).tolist()
    row = {
        "merging": label,
        ACCURACY: (100 * measured.accuracy, 100 * measured.accuracy_se),
        "tokens sent": float(measured.tokens.mean()),
        "their deviation": float(measured.tokens.std()),
        "uses": float(measured.uses.mean()),
        "edge GMACs": float(measured.edge_gmacs.mean()),
        **gmacs,
    }
    by_layer = {"merging": label, **{f"after layer {layer}": count for layer, count in enumerate(tokens[1:], 1)}}
    return row, by_layer, tokens


def _merging(rules: Sequence[Rule | None]) -> Callable[[Evaluator], Parts]:
    return lambda evaluator: evaluator.transform(rules)


def _pruned(left: float, seed: int, evaluator: Evaluator) -> Parts:
    return prune(evaluator, max(1, round(left * evaluator.bundle.patches)), seed)


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    evaluator = setting.evaluator()
    bundle, engine = evaluator.bundle, evaluator.engine
    choices = three_policies(bundle)
    reference = choices["unmerged"].policy
    layers = list(range(bundle.steps + 1))

    def kept(
        label: str, one: Evaluator, transform: Callable[[Evaluator], Parts], policy: Policy = reference
    ) -> tuple[dict[str, Any], dict[str, Any], list[float]]:
        row, by_layer, tokens = setting.kept(label, partial(_rows, label, one, transform, policy, setting.seed))
        return row | {ACCURACY: Estimate(*row[ACCURACY])}, by_layer, tokens

    found = [
        kept(label, evaluator, _merging(rules_for(choice.policy.thresholds)), choice.policy)
        for label, choice in choices.items()
    ]
    tome = TorchEngine(replace(bundle, merging=TOME), engine.tower, engine.encoder)
    with_tome = Evaluator(tome.bundle, tome, evaluator.judge, evaluator.images)
    found += [kept(f"ToMe, r = {r}", with_tome, _merging(fixed_rules(bundle.steps, r))) for r in TOME_R]
    if can_prune(evaluator):
        found += [
            kept(f"{left:.0%} of the patches, at random", evaluator, partial(_pruned, left, setting.seed))
            for left in LEFT
        ]
    found += [
        kept(f"photograph of {side} x {side} patches", scale_down(evaluator, side), _merging([None] * len(layers[1:])))
        for side in smaller_sides(evaluator)[::2]
    ]
    sample = evaluator.images.even_sample(SAMPLE)
    quantiles = setting.kept("similarities", lambda: similarity_quantiles(engine, sample).tolist())
    similar = [
        {"layer": layer, **{f"{share:.0%}": float(np.interp(share, QUANTILES, row)) for share in SHOWN}}
        for layer, row in enumerate(quantiles, 1)
    ]
    rows, by_layer, counts = zip(*found, strict=True)
    gmacs = ("edge GMACs", *(name for name in rows[0] if name.endswith(", GMACs")))
    return Report(
        tables=[
            Table("What it costs, and what it gives", rows, digits=dict.fromkeys(gmacs, 4)),
            Table("Tokens that leave each layer, mean", by_layer),
            Table(
                f"Unmerged: each source's best similarity, quantiles over {len(sample)} images",
                similar,
                digits={f"{share:.0%}": 2 for share in SHOWN},
            ),
        ],
        plots=[
            Plot(
                "tokens",
                "layer",
                "tokens, mean",
                {"": [Curve(row["merging"], layers, tokens) for row, tokens in zip(rows, counts, strict=True)]},
            )
        ],
    )


EXPERIMENT = Experiment(
    name="profile",
    title="Where compute and tokens go",
    about="""
The bundle `{bundle}` on test images, AWGN at 10 dB: the unmodified model at the reference rate, the policies that
budgets of 50%, 20% and 5% of the reference's uses choose, and at the reference rate ToMe with a fixed number r of
tokens per layer (our engine under the rule of its paper), patches dropped at random before the first layer, and smaller
photographs with resampled positions. The device's whole count: embedding, layers, the matching
itself and the JSCC encoder. The paper's ViT-B spends nearly all of it in its layers; of `cifar10` the convolutional
stem is a third, which no policy touches.
""",
    run=run,
    options=BUNDLE | LIMIT,
)
