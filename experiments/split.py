"""Where to split: after the last layer or in the middle, under budgets of channel uses and of compute on the device."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.digital.finite_blocklength import capacity
from experiments.harness.experiment import Experiment
from experiments.harness.options import BUNDLE, LIMIT
from experiments.harness.report import Curve, Estimate, Plot, Report, Table, accuracy, change
from experiments.harness.setting import Setting, beside, fronts_of
from experiments.pictures import answer_jpeg, uses_of
from offline.measure.baselines import Baselines
from offline.measure.cloud_cost import classifier_gmacs
from offline.measure.evaluator import BYPASS
from offline.measure.judges import LabelJudge
from offline.measure.meter import PolicyMeter
from offline.measure.on_device import OnDevice, plain_logits
from policies.budget import Budget
from policies.choice import AUTO, UNMERGED, choose_for
from policies.policy import Policy
from thinwire.bundle import load_bundle
from thinwire.channels import Channel
from thinwire.errors import BudgetError
from thinwire.nn.merging.transformer import rules_for

BUNDLES = ("cifar10", "cifar10-middle")
CHANNELS = (Channel("awgn", 10.0), Channel("awgn", 0.0))
# Of what the unmerged reference of the last layer's split takes.
USES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
GMACS = (0.99, 0.72, 0.54, 0.5, 0.35)
QUALITIES = (25, 75)
DIGITS = {"edge GMACs": 4, "cloud GMACs": 4, "budget, GMACs": 4}
CHANGE = "less the last layer's, points"


class Split:
    """One bundle on its test images; what was measured is kept.

    Args:
        setting: of the experiment.
        name: of the bundle, or its folder.
    """

    def __init__(self, setting: Setting, name: str) -> None:
        self.setting = setting
        self.evaluator = setting.evaluator(bundle=load_bundle(name))
        # By thresholds, the latest alone: rates, channels and caps share it.
        self._transform = lru_cache(maxsize=1)(lambda thresholds: self.evaluator.transform(rules_for(thresholds)))
        self.bundle = self.evaluator.bundle
        self.fronts = fronts_of(self.bundle)
        assert isinstance(self.evaluator.judge, LabelJudge)
        self.judge = self.evaluator.judge
        assert self.bundle.reference is not None
        self.reference = self.bundle.reference.channel_uses
        self.is_last = self.bundle.split_layer == self.bundle.depth
        self.name = f"after layer {self.bundle.split_layer} of {self.bundle.depth}"

    def asked(self) -> dict[str, Any]:
        """A row of what it asks of device and cloud; the device holds embedding, layers before it and JSCC encoder."""
        model, policies = self.judge.classifier.model, self.fronts.policies
        held = (model.patch_embed, *model.blocks[: self.bundle.split_layer], self.evaluator.engine.encoder)
        return {
            "split": self.name,
            "weights on the device, 10^6": sum(value.numel() for part in held for value in part.parameters()) / 1e6,
            "unmerged, edge GMACs": self.evaluator.unmerged_gmacs(),
            "cloud GMACs": float(classifier_gmacs(self.judge.classifier, np.array([self.bundle.patches]))[0]),
            "policies, least edge GMACs": min(one.objectives.edge_gmacs for one in policies),
            "policies": len({one.policy.id for one in policies}),
            "reference, uses": self.reference,
        }

    def chosen(self, budget: Budget, channel: Channel) -> Policy | None:
        """The policy that a budget gets; None where none meets it."""
        asked = UNMERGED if budget == Budget() else AUTO
        try:
            return choose_for(self.bundle, self.fronts, asked, budget, channel).policy
        except BudgetError:
            return None

    def found(self, policy: Policy, channel: Channel, cap: int | None) -> dict[str, Any]:
        """What a policy gives under a cap on the uses: which images were ``right``, and means over them."""
        if cap is not None and cap >= policy.symbols_per_token * self.bundle.patches:
            cap = None

        def measure() -> dict[str, Any]:
            parts, rate = self._transform(policy.thresholds), policy.symbols_per_token
            one = self.evaluator.measure(parts, rate, channel, self.setting.seed, cap, policy.max_tokens)
            return {
                "right": one.right.tolist(),
                "tokens": float(one.tokens.mean()),
                "tokens_sd": float(one.tokens.std()),
                "uses": float(one.uses.mean()),
                "edge": float(one.edge_gmacs.mean()),
                "cloud": float(classifier_gmacs(self.judge.classifier, one.tokens).mean()),
            }

        kept: dict[str, Any] = self.setting.kept(f"{self.bundle.digest} {policy.digest} {channel} {cap}", measure)
        return kept

    def measure_ahead(self, budgets: Sequence[Budget]) -> None:
        """Measure what these budgets choose, policies of equal thresholds one after another."""
        wanted = [
            (policy, channel, budget)
            for channel, budget in product(CHANNELS, budgets)
            if (policy := self.chosen(budget, channel)) is not None
        ]
        for policy, channel, budget in sorted(wanted, key=lambda one: one[0].thresholds):
            self.found(policy, channel, budget.channel_uses)
            if self.is_last and budget.edge_gmacs is not None:
                self.label(policy)

    def label(self, policy: Policy) -> tuple[Estimate, float]:
        """Accuracy and GMACs of a device that merges as a policy says and runs all that the bundle has, the head too.

        Only where the split is the last.
        """

        def measure() -> list[list[float]]:
            parts = self._transform(policy.thresholds)
            one = self.evaluator.measure(parts, policy.symbols_per_token, BYPASS, self.setting.seed)
            cost = replace(self.evaluator.engine.cost, encoder=0)
            gmacs = [cost.gmacs(part.counts.numpy(), part.merged, part.counts[:, -1].numpy()) for _, part in parts]
            return [one.right.tolist(), [float(np.concatenate(gmacs).mean())]]

        right, (gmacs,) = self.setting.kept(f"label {self.bundle.digest} {policy.digest}", measure)
        return accuracy(right), gmacs

    @cached_property
    def _scores(self) -> NDArray[np.float32]:
        return plain_logits(self.evaluator)

    def trivial(self, channel: Channel) -> list[dict[str, Any]]:
        """The pooled token at every rate; where the split is the last, logits and label too."""

        def measure() -> list[list[Any]]:
            baselines = Baselines(PolicyMeter(self.evaluator, (channel,), self.setting.seed))
            each = [
                (f"pooled token, {one.parameters['symbols_per_token']} symbols", one.measure())
                for one in baselines.pooled_token()
            ]
            if self.is_last:
                unmerged = self.evaluator.unmerged(channel, self.setting.seed)
                device = OnDevice(self.evaluator, channel, self.setting.seed, self._scores)
                answered = {"logits": device.logits(), "label": device.label()}
                each += [(way, one.objectives(unmerged)) for way, one in answered.items()]
            return [[way, one.accuracy, one.accuracy_se, one.channel_uses, one.edge_gmacs] for way, one in each]

        return [
            {"sent": way, "split": self.name, "accuracy, %": Estimate.percent(share, se), "uses": uses,
             "edge GMACs": gmacs}
            for way, share, se, uses, gmacs in self.setting.kept(f"trivial {self.bundle.digest} {channel}", measure)
        ]  # fmt: skip

    def pictures(self) -> list[tuple[int, list[int], list[int]]]:
        """Quality of a JPEG, whether the plain model is right on each picture, and its bits."""

        def jpeg(quality: int) -> list[Any]:
            logits, bits = answer_jpeg(self.evaluator, quality)
            return [quality, (logits.argmax(1) == self.judge.labels).astype(int).tolist(), bits.tolist()]

        kept: list[Any] = self.setting.kept("jpeg", lambda: [jpeg(quality) for quality in QUALITIES])
        return kept


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    splits = [Split(setting, name) for name in beside(getattr(setting.options, "bundle", BUNDLES[0]), BUNDLES)]
    digits = {"weights on the device, 10^6": 2, "unmerged, edge GMACs": 4, "cloud GMACs": 4,
              "policies, least edge GMACs": 4}  # fmt: skip
    tables = [Table("What each split asks of device and cloud", [split.asked() for split in splits], digits)]
    whole = splits[0].evaluator.unmerged_gmacs()
    # By what stands in the table; without a limit the unmerged reference.
    uses = {"unmerged": Budget()} | {
        most: Budget(channel_uses=most) for most in (round(share * splits[0].reference) for share in USES)
    }
    gmacs = {most: Budget(edge_gmacs=most) for most in (float(f"{share * whole:.3g}") for share in GMACS)}
    for split in splits:
        split.measure_ahead([*uses.values(), *gmacs.values()])
    over_uses: dict[str, list[Curve]] = {}
    over_gmacs: dict[str, list[Curve]] = {}
    remarks: list[str] = []
    for channel in CHANNELS:
        by_uses = _within("budget, uses", uses, splits, channel)
        by_gmacs = _within("budget, GMACs", gmacs, splits, channel)
        trivial = [row for split in splits for row in split.trivial(channel)]
        bounds: list[dict[str, Any]] = [
            {
                "sent": f"JPEG of quality {quality}, its scan",
                "accuracy, %": accuracy(right),
                "uses": float(uses_of(np.array(bits), channel.snr_db).mean()),
                "edge GMACs": 0.0,
            }
            for quality, right, bits in splits[0].pictures()
        ]
        tables += [
            Table(f"Within so many channel uses, {channel.name}", by_uses, DIGITS),
            Table(f"Within so many GMACs on the device, {channel.name}", by_gmacs, DIGITS),
            Table(f"Trivial baselines, {channel.name}", trivial, DIGITS),
            Table(f"Bounds: what a code at capacity would carry, {channel.name}", bounds, DIGITS),
        ]
        pooled = [row for row in trivial if row["sent"].startswith("pooled")]
        device = [row for row in trivial if not row["sent"].startswith("pooled")]
        over_uses[channel.name] = [
            *_curves(by_uses, "uses"), *_curves(pooled, "uses", "pooled token, "), *_points(device, "uses"),
        ]  # fmt: skip
        over_gmacs[channel.name] = [*_curves(by_gmacs, "edge GMACs"), *_points(device, "edge GMACs")]
        remarks += _remarks(by_uses, by_gmacs, channel)
    return Report(
        tables=tables,
        plots=[
            Plot("uses", "channel uses", "accuracy, %", over_uses, log_x=True),
            Plot("gmacs", "GMACs on the device", "accuracy, %", over_gmacs),
        ],
        remarks=remarks,
    )


def _within(
    column: str, budgets: Mapping[Any, Budget], splits: Sequence[Split], channel: Channel
) -> list[dict[str, Any]]:
    """What each split makes of each budget, and of a limit on compute, too, a device that sends its label."""
    rows: list[dict[str, Any]] = []
    for title, budget in budgets.items():
        if not any(split.chosen(budget, channel) for split in splits):
            continue
        first: dict[str, Any] | None = None
        for split in splits:
            policy = split.chosen(budget, channel)
            found = None if policy is None else split.found(policy, channel, budget.channel_uses)
            rows.append({
                column: title,
                "split": split.name,
                "accuracy, %": found and accuracy(found["right"]),
                "tokens": found and found["tokens"],
                "their deviation": found and found["tokens_sd"],
                "uses": found and found["uses"],
                "of its reference, %": found and 100 * found["uses"] / split.reference,
                "edge GMACs": found and found["edge"],
                "cloud GMACs": found and found["cloud"],
                CHANGE: found and first and change(found["right"], first["right"]),
            })  # fmt: skip
            first = first or found
            if policy and split.is_last and budget.edge_gmacs is not None:
                share, gmacs = split.label(policy)
                uses = math.ceil(math.log2(len(split.bundle.labels)) / capacity(channel.snr_db))
                label = {column: title, "split": "none: its label, at capacity", "accuracy, %": share}
                rows.append(dict.fromkeys(rows[-1]) | label | {"uses": float(uses), "edge GMACs": gmacs})
    return rows


def _curves(rows: Sequence[dict[str, Any]], x: str, prefix: str = "") -> list[Curve]:
    """A curve per split, of what was measured, from left to right."""
    curves = []
    for name in dict.fromkeys(row["split"] for row in rows):
        chosen = [row for row in rows if row["split"] == name and row["accuracy, %"] is not None]
        chosen.sort(key=lambda row: row[x])
        accuracies = [row["accuracy, %"] for row in chosen]
        curves.append(Curve.through(f"{prefix}{name}", [row[x] for row in chosen], accuracies))
    return curves


def _points(rows: Sequence[dict[str, Any]], x: str) -> list[Curve]:
    return [Curve(row["sent"], [row[x]], [row["accuracy, %"].value]) for row in rows]


def _remarks(by_uses: Sequence[dict[str, Any]], by_gmacs: Sequence[dict[str, Any]], channel: Channel) -> list[str]:
    remarks = []
    for rows, budget in ((by_uses, "budget, uses"), (by_gmacs, "budget, GMACs")):
        compared = [row for row in rows if row[CHANGE] is not None]
        for verb, sign in (("more", 1), ("less", -1)):
            clear = [str(row[budget]) for row in compared if sign * row[CHANGE].value > 1.96 * row[CHANGE].se]
            if clear:
                remarks.append(f"{channel.name}: split in the middle, {verb} accurate beyond 1.96 standard errors "
                               f"under {budget} of {', '.join(clear)}.")  # fmt: skip
    only = {row["budget, GMACs"] for row in by_gmacs if row["accuracy, %"] is not None}
    only -= {row["budget, GMACs"] for row in by_gmacs if row["split"].startswith("none")}
    if only:
        remarks.append(f"{channel.name}: only the split in the middle meets {', '.join(map(str, sorted(only)))} GMACs.")
    return remarks


EXPERIMENT = Experiment(
    name="split",
    title="Split after the last layer, or in the middle",
    about="""
The bundles `{bundle}` (all layers on the device) and `{bundle}-middle` (the first on the device, the others in the
cloud): the same backbone, byte for byte, each with its own codec and its own fronts. Both meet the same test images,
AWGN, and budgets of channel uses or of GMACs on the device, from which each chooses of its own fronts. A difference is
paired with the last layer's split under the same budget. Beside them what needs no tokens: the pooled token of each split,
the logits as symbols and the label as QPSK from a device that runs the whole model. Two rows are marked as bounds:
the label of a device that runs the whole model, merging as the policy of the last layer's split under the same budget
does, sent by a code at capacity; and JPEG's scan at capacity, headers and tables for free. The paper, as we read
it, splits after the last layer.
""",
    run=run,
    bundles=BUNDLES,
    options=BUNDLE | LIMIT,
)
