"""Accuracy against compute and against channel uses: the searched front beside simpler ways.

Every family chooses as its user would have to: on *select*. Whoever picks the best of two hundred baselines on the test
images themselves picks their luck with them, and the larger a family, the luckier its best.
"""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np

from deploy.cli.common import positive_int
from experiments.harness.experiment import Experiment
from experiments.harness.options import BUNDLE, LIMIT, Option
from experiments.harness.report import Plot, Report
from experiments.harness.setting import TEST, TRAIN, Setting, fronts_of
from experiments.pictures import JPEG_QUALITIES, measure_jpeg
from experiments.tradeoff.choices import (
    CHANNEL_USES,
    EDGE_GMACS,
    Cost,
    best_of,
    cheapest,
    most_accurate,
    share_of,
)
from experiments.tradeoff.tables import LOSSES, OURS, Judged, equal_losses, headline, points, savings, within
from offline.data.sources import SELECT
from offline.measure.baselines import LIMITS, Baselines, Candidate
from offline.measure.meter import PolicyMeter
from policies.policy import MeasuredPolicy, Objectives
from thinwire.channels import Channel

CHANNEL = Channel("awgn", 10.0)
# Of the unmerged reference's channel uses, and of its compute on the device.
USES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
GMACS = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)
SELECT_IMAGES = 2000
# Of all numbers of tokens per layer: close where accuracy begins to fall.
TOME_R = (2, 4, 6, 8, 9, 10, 11, 12, 13, 14, 16, 20, 24, 32)
# What one member of a family shares with no other: the rest is computed once for all of them.
APART = ("symbols_per_token", "max_tokens")


_T = TypeVar("_T")


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    every, unmerged = _candidates(setting, SELECT)
    select = {name: one.objectives for name, one in _measured(setting, SELECT, every).items()}
    families: dict[str, dict[str, Objectives]] = {}
    for name, figures in select.items():
        families.setdefault(every[name].family, {})[name] = figures
    # With it goes what is kept of the images of *select*, which may be gigabytes.
    del every
    budgets: dict[str, tuple[Cost, Sequence[float]]] = {
        "channel uses": (attrgetter("channel_uses_p95"), [round(share * unmerged.channel_uses) for share in USES]),
        "edge GMACs": (EDGE_GMACS, [float(f"{share * unmerged.edge_gmacs:.3g}") for share in GMACS]),
    }
    chosen = {
        title: [{name: most_accurate(family, budget, cost) for name, family in families.items()} for budget in values]
        for title, (cost, values) in budgets.items()
    }
    costs = {"channel uses": CHANNEL_USES, "edge GMACs": EDGE_GMACS, "both": share_of(unmerged)}
    least = {
        title: {(loss, name): cheapest(family, loss, cost) for loss in LOSSES for name, family in families.items()}
        for title, cost in costs.items()
    }
    best = {name: best_of(family) for name, family in families.items() if name != OURS}
    front = [*families[OURS]]
    wanted: set[str | None] = {*front, *(name for names in best.values() for name in names)}
    wanted |= {name for rows in chosen.values() for row in rows for name in row.values()}
    wanted |= {name for rows in least.values() for name in rows.values()}
    # The test images judge what was chosen, and nothing else.
    found, whole = _candidates(setting, "test")
    judged = _measured(setting, "test", {name: one for name, one in found.items() if name in wanted})
    test = {name: one.objectives for name, one in judged.items()}
    tables = [
        headline(least["both"], test, whole),
        *(equal_losses(title, least[title], judged) for title in ("channel uses", "edge GMACs")),
        *(within(title, budgets[title][1], rows, test) for title, rows in chosen.items()),
        savings(front, best, select, test),
    ]
    panels = {
        "over channel uses": [points(name, family, CHANNEL_USES) for name, family in families.items()],
        "over edge MMACs": [points(name, family, EDGE_GMACS, 1000) for name, family in families.items()],
    }
    plot = Plot("all", "cost", "change in accuracy on select, points", panels, log_x=True, scatter=True)
    above = [100 * (select[name].accuracy_change - one.accuracy_change) for name, one in test.items()]
    shift = sum(above) / len(above)
    return Report(
        tables,
        [plot],
        [
            f"{unmerged.n} images of *select*, {whole.n} test images; unmerged, these are answered at "
            f"{100 * whole.accuracy:.1f}% for {whole.channel_uses:.0f} uses and {whole.edge_gmacs:.4g} GMACs.",
            f"Changes on *select* are {shift:.2f} points above those on the test images, on average.",
        ],
    )


def evenly(values: Sequence[_T], most: int | None) -> list[_T]:
    """At most so many, both ends among them."""
    if most is None or len(values) <= most:
        return list(values)
    return [values[round(at)] for at in np.linspace(0, len(values) - 1, most)]


def _candidates(setting: Setting, split: str) -> tuple[dict[str, Candidate], Objectives]:
    """What can be measured on one split, by name, and what the unmerged reference gives there."""
    evaluator = setting.evaluator(split, most=SELECT_IMAGES if split == SELECT else None)
    baselines = Baselines(PolicyMeter(evaluator, [CHANNEL], setting.seed, split))
    unmerged = evaluator.unmerged(CHANNEL, setting.seed)
    front = fronts_of(evaluator.bundle).nearest(CHANNEL)
    ours = [
        Candidate(OURS, {"id": one.policy.id}, partial(baselines.policy, one.policy), unmerged)
        for one in _thinned(front.policies, setting.options.members)
    ]
    simpler = [one for one in baselines.candidates() if one.parameters.get("r", TOME_R[0]) in TOME_R]
    simpler += [
        Candidate("jpeg", {"quality": quality}, partial(measure_jpeg, evaluator, quality, CHANNEL.snr_db), unmerged)
        for quality in JPEG_QUALITIES
    ]
    kept: dict[str, list[str]] = {}
    for one in simpler:
        members = kept.setdefault(one.family, [])
        if (key := _shared(one)) not in members:
            members.append(key)
    kept = {family: evenly(members, setting.options.members) for family, members in kept.items()}
    candidates = [*ours, *(one for one in simpler if _shared(one) in kept[one.family])]
    return {f"{one.family} {one.parameters}": one for one in candidates}, unmerged.objectives(unmerged)


def _shared(one: Candidate) -> str:
    return str({name: value for name, value in one.parameters.items() if name not in APART})


def _thinned(policies: Sequence[MeasuredPolicy], members: int | None) -> list[MeasuredPolicy]:
    """Those of so many thresholds, evenly from the least compute to the most.

    Policies of the same thresholds share the work of the blocks when they come one after another.
    """
    by_thresholds: dict[tuple[float, ...], list[MeasuredPolicy]] = {}
    for one in sorted(policies, key=lambda one: (one.objectives.edge_gmacs, one.policy.id)):
        by_thresholds.setdefault(one.policy.thresholds, []).append(one)
    return [one for same in evenly([*by_thresholds.values()], members) for one in same]


def _measured(setting: Setting, split: str, candidates: dict[str, Candidate]) -> dict[str, Judged]:
    def fields(candidate: Candidate) -> dict[str, Any]:
        measured = candidate.measured()
        return {"objectives": asdict(measured.objectives(candidate.unmerged)), "right": measured.right.tolist()}

    kept = {name: setting.kept(f"{split} {name}", partial(fields, one)) for name, one in candidates.items()}
    return {name: Judged(Objectives(**one["objectives"]), one["right"]) for name, one in kept.items()}


EXPERIMENT = Experiment(
    name="tradeoff",
    title="Accuracy against compute and against channel uses",
    about=f"""
The bundle `{{bundle}}`, AWGN at 10 dB: the policies of its front for this channel (*searched*), and beside them no
merging at every rate (*unmerged*), the pooled token alone, or with it the class token where the head reads both; the
class token alone (*class-token*; the head gets a constant for the mean of the patches); one threshold for all layers;
ToMe with a fixed number per layer; patches dropped at random, once before the first layer, those left standing for
themselves (*random*); a smaller photograph for the same model, its positions resampled (*down-sampled*); the logits as
symbols, the label as QPSK, and JPEG's scan by a code at capacity, headers and tables for free, for the whole model in
the cloud. A searched policy may have a limit on the tokens, which merges further what leaves the last layer; in
families that are called *limited*, one threshold and ToMe have one of {", ".join(map(str, LIMITS))} tokens, too, so
that what the limit gains is not taken for a gain of the thresholds. A device that sends a picture computes nothing that
is counted. Patches are embedded before they are dropped, and that counts.

Everything was measured on at most {SELECT_IMAGES:,} images of *select*, which the plot shows; what that chooses was
measured on the test images, which the tables quote. Changes are paired with the unmerged reference, "less ours" with
the searched policy of the same loss, and intervals are of 95%. The budget of uses is of the 95% quantile. Savings: for
each of a family's best members, which no other of it dominates, the cheapest policy is taken that is as accurate on
*select* (or as accurate as the unmerged reference, where that is less) and costs no more of the other resource. The
table has the mean over the members; one that no policy beats counts as nothing saved. `--members N` takes N thresholds,
numbers or shares of each family, and N thresholds of the front, evenly.

The paper reports the accuracy of its unmodified ViT-B (ImageNet) at 30% fewer FLOPs and under 20% of the
communication, which the first table is to be held against. `cifar10` is a model of 1.3 M parameters with the stem as a
third of its compute, so that its shares are not comparable; [policies.md](policies.md) says how its fronts were
searched.
""",
    run=run,
    data=(TEST, TRAIN),
    options=BUNDLE
    | LIMIT
    | {
        "members": Option(
            None, "at most so many thresholds, numbers or shares of each family (default: all)", 2, positive_int
        )
    },
)
