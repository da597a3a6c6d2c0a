"""What one bundle gives on its test images, for the experiment that compares splits; measured once and kept."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.digital.compressed import compress
from experiments.harness.paired import accuracy
from experiments.harness.report import Estimate
from experiments.harness.setting import Setting
from offline.measure.baselines import Baselines
from offline.measure.cloud_cost import classifier_gmacs
from offline.measure.evaluator import BYPASS, Evaluator
from offline.measure.judges import LabelJudge
from offline.measure.meter import PolicyMeter
from policies.budget import Budget
from policies.choice import choose_for
from policies.fronts import Fronts
from policies.policy import Policy
from thinwire.bundle import FRONT
from thinwire.channels import Channel
from thinwire.errors import BudgetError
from thinwire.nn.merging.transformer import rules_for

QUALITIES = (25, 75)


@dataclass(frozen=True)
class Found:
    """What a policy gave: which images were ``right``, and means over them."""

    right: NDArray[np.int64]
    tokens: float
    tokens_sd: float
    uses: float
    edge: float
    cloud: float

    def cells(self, reference: float) -> dict[str, Any]:
        """As columns; ``reference`` is the uses of the unmerged reference."""
        return {
            "accuracy, %": accuracy(self.right),
            "tokens": self.tokens,
            "their deviation": self.tokens_sd,
            "uses": self.uses,
            "of its reference, %": 100 * self.uses / reference,
            "edge GMACs": self.edge,
            "cloud GMACs": self.cloud,
        }


class MeasuredSplit:
    """One bundle on its test images."""

    def __init__(self, setting: Setting, name: str) -> None:
        self.setting = setting
        self.evaluator: Evaluator = setting.evaluator(name)
        self.bundle = self.evaluator.bundle
        self.fronts = Fronts.load(self.bundle.path(FRONT), self.bundle.digest)
        judge = self.evaluator.judge
        assert isinstance(judge, LabelJudge)
        self.classifier = judge.classifier
        assert self.bundle.reference is not None
        self.reference = self.bundle.reference.channel_uses
        self.name = f"after layer {self.bundle.split_layer} of {self.bundle.depth}"

    def chosen(self, asked: str, budget: Budget, channel: Channel) -> Policy | None:
        """The policy that a budget gets; None where none meets it."""
        try:
            return choose_for(self.bundle, self.fronts, asked, budget, channel).policy
        except BudgetError:
            return None

    def device_weights(self) -> int:
        """Numbers that the device has to hold: embedding, layers before the split, JSCC encoder."""
        model = self.classifier.model
        held = (model.patch_embed, *model.blocks[: self.bundle.split_layer], self.evaluator.engine.encoder)
        return sum(value.numel() for part in held for value in part.parameters())

    def found(self, policy: Policy, channel: Channel, cap: int | None = None) -> Found:
        """Measure a policy under a cap on the uses."""
        if cap is not None and cap >= policy.symbols_per_token * self.bundle.patches:
            cap = None

        def measure() -> dict[str, Any]:
            one = self.evaluator.measure_policy(policy, channel, self.setting.seed, cap)
            return {
                "right": one.right.tolist(),
                "tokens": float(one.tokens.mean()),
                "tokens_sd": float(one.tokens.std()),
                "uses": float(one.uses.mean()),
                "edge": float(one.edge_gmacs.mean()),
                "cloud": float(classifier_gmacs(self.classifier, one.tokens).mean()),
            }

        kept = self.setting.kept(f"{self.bundle.digest} {policy.digest} {channel} {cap}", measure)
        return Found(**kept | {"right": np.array(kept["right"], dtype=np.int64)})

    def label(self, policy: Policy) -> tuple[Estimate, float]:
        """Accuracy and GMACs of a device that merges as a policy says and runs all that the bundle has, the head too.

        Only where the split is the last.
        """
        assert self.bundle.split_layer == self.bundle.depth

        def measure() -> list[list[float]]:
            parts = self.evaluator.transform(rules_for(policy.thresholds))
            one = self.evaluator.measure(parts, policy.symbols_per_token, BYPASS, self.setting.seed)
            cost = replace(self.evaluator.engine.cost, encoder=0)
            gmacs = [cost.gmacs(part.counts.numpy(), part.merged, part.counts[:, -1].numpy()) for _, part in parts]
            return [one.right.tolist(), [float(np.concatenate(gmacs).mean())]]

        right, (gmacs,) = self.setting.kept(f"label {self.bundle.digest} {policy.digest}", measure)
        return accuracy(right), gmacs

    def trivial(self, channel: Channel) -> list[dict[str, Any]]:
        """The pooled token at every rate; where the split is the last, logits and label too."""

        def measure() -> list[list[Any]]:
            baselines = Baselines(PolicyMeter(self.evaluator, (channel,), self.setting.seed))
            each = [
                (f"pooled token, {one.parameters['symbols_per_token']} symbols", one.measure())
                for one in baselines.pooled_token()
            ]
            if self.bundle.split_layer == self.bundle.depth:
                each += [("logits", baselines.logits()), ("label", baselines.label())]
            return [[way, one.accuracy, one.accuracy_se, one.channel_uses, one.edge_gmacs] for way, one in each]

        return [
            {"sent": way, "split": self.name, "accuracy, %": Estimate.percent(accuracy, se), "uses": uses,
             "edge GMACs": gmacs}
            for way, accuracy, se, uses, gmacs in self.setting.kept(f"trivial {self.bundle.digest} {channel}", measure)
        ]  # fmt: skip

    def pictures(self) -> list[tuple[int, Estimate, list[int]]]:
        """Quality of a JPEG, the plain model's accuracy on it, and the bits of each picture."""

        def measure() -> list[Any]:
            return [[quality, *self._jpeg(quality)] for quality in QUALITIES]

        return [(quality, accuracy(right), bits) for quality, right, bits in self.setting.kept("jpeg", measure)]

    def _jpeg(self, quality: int) -> tuple[list[int], list[int]]:
        files = [compress(pixels, "JPEG", len(pixels), quality) for pixels in self.evaluator.images.pixels]
        pixels = np.stack([seen for _, seen in files])
        logits = [self.classifier.classify_images(pixels[i : i + 128]) for i in range(0, len(pixels), 128)]
        assert isinstance(self.evaluator.judge, LabelJudge)
        right = np.concatenate(logits).argmax(1) == self.evaluator.judge.labels
        return right.astype(int).tolist(), [8 * len(content) for content, _ in files]
