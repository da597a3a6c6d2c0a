"""One bundle of those that the experiment on where to split compares, and all that is measured of it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.harness.report import Estimate, accuracy
from experiments.harness.setting import Setting, fronts_of
from experiments.pictures import answer_jpeg
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

QUALITIES = (25, 75)


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
        self.most_tokens = self.bundle.prefix_tokens + self.bundle.patches
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
            "cloud GMACs": float(classifier_gmacs(self.judge.classifier, np.array([self.most_tokens]))[0]),
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
        if cap is not None and cap >= policy.symbols_per_token * self.most_tokens:
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

    def measure_ahead(self, channels: Sequence[Channel], budgets: Sequence[Budget]) -> None:
        """Measure what these budgets choose, policies of equal thresholds one after another."""
        wanted = [
            (policy, channel, budget)
            for channel, budget in product(channels, budgets)
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
        """The pooled token at every rate; where the split is the last, a class token alone, logits and label too."""

        def measure() -> list[list[Any]]:
            baselines = Baselines(PolicyMeter(self.evaluator, (channel,), self.setting.seed))
            each = [
                (f"{one.family.replace('-', ' ')}, {one.parameters['symbols_per_token']} symbols", one.measure())
                for one in (*baselines.pooled_token(), *baselines.class_token())
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
