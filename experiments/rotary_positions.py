"""Where a merged token stands for rotary attention: at the centre of its patches, or where its destination stood."""

import copy
from functools import partial
from itertools import product
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from experiments.harness.experiment import Experiment
from experiments.harness.options import LIMIT
from experiments.harness.report import Cell, Report, Table, mean
from experiments.harness.setting import Setting
from offline.bundles.naming import name_model
from offline.bundles.own_output import perturbed
from offline.bundles.untrained import MERGING
from offline.data.images import load
from thinwire.images import normalise
from thinwire.nn.attention import Attended
from thinwire.nn.merging.tokens import Tokens
from thinwire.nn.merging.tome import fixed_rules
from thinwire.nn.merging.transformer import embed, run_layers
from thinwire.nn.towers.interface import RotaryTower
from thinwire.nn.towers.models import classifier_of
from thinwire.nn.weights import build_classifier

TOWERS = ("vit_small_patch16_dinov3", "eva02_tiny_patch14_224")
CLASSES, IMAGES = 100, 32
# Of the patches that are left behind the last layer.
LEFT = (0.75, 0.5, 0.25)
CENTRE, OWN, NOWHERE = "centre of its patches", "its destination's", "none at all"


class Placed:
    """A tower that asks here, instead of the caller, where its tokens stand."""

    def __init__(self, tower: RotaryTower, images: int, place: str) -> None:
        self._tower = tower
        self._place = place
        self._own = torch.arange(tower.patches).expand(images, -1)
        self.tower: Any = copy.copy(tower)
        if place != CENTRE:
            vars(self.tower)["attend_at"] = self._attend_at

    def _attend_at(self, layer: int, x: Tensor, bias: Tensor | None, centres: Tensor) -> Attended:
        placed = torch.zeros_like(centres)
        if self._place == OWN:
            prefix = centres.shape[1] - self._own.shape[1]
            placed[:, prefix:] = self._tower.grid.to(centres)[self._own]
        return self._tower.attend_at(layer, x, bias, placed)

    def follow(self, after: Tokens) -> None:
        """Which patch each token is named after once a layer has merged: its destination's."""
        rows = after.origin.gather(1, self._own)
        own = torch.zeros(after.x.shape[:2], dtype=torch.int64)
        # Those of even rank last: they are the destinations, and stay where they are.
        own.scatter_(1, rows[:, 1::2], self._own[:, 1::2])
        own.scatter_(1, rows[:, 0::2], self._own[:, 0::2])
        self._own = own


@torch.inference_mode()
def logits(tower: RotaryTower, images: Tensor, r: int, place: str) -> Tensor:
    """``batch x classes`` logits, merging ``r`` tokens of every image at each layer."""
    placed = Placed(tower, len(images), place)
    tokens = embed(tower, images)
    for layer, rule in enumerate(fixed_rules(tower.depth, r)):
        # Of every image as many, so that none is padded.
        tokens, _ = run_layers(placed.tower, tokens, [rule], MERGING, first=layer)
        placed.follow(tokens)
    x = torch.cat((tokens.prefix, tokens.x), dim=1)
    valid = torch.ones(x.shape[:2], dtype=torch.bool)
    found: Tensor = cast(Any, tower).head(x, tokens.all_sizes, valid)
    return found


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    rows: list[dict[str, Cell]] = []
    for name in TOWERS:
        named = name_model(name, CLASSES, random=True)
        torch.manual_seed(setting.seed)
        tower = cast(RotaryTower, classifier_of(perturbed(build_classifier(named.spec).eval(), setting.seed)))
        shown = load(str(setting.file("photos-test.tar")), named.preprocessing).even_sample(
            setting.options.limit or (4 if setting.quick else IMAGES)
        )
        images = torch.from_numpy(normalise(shown.pixels, named.preprocessing))
        found = partial(_logits, setting, name, tower, images)
        unmerged = found(0, CENTRE)
        norms = np.linalg.norm(unmerged, axis=1)
        counts = [round((1 - left) * tower.patches / tower.depth) for left in LEFT]
        for r, place in [(0, NOWHERE), *product(counts, (CENTRE, OWN))]:
            deviation = 100 * np.linalg.norm(found(r, place) - unmerged, axis=1) / norms
            rows.append({
                "tower": name,
                "tokens left, of patches": f"{tower.patches - r * tower.depth} of {tower.patches}",
                "position": place,
                "deviation, %": mean(deviation),
            })  # fmt: skip
    return Report([Table("Logits against the unmerged model's", rows, {"deviation, %": 2})])


def _logits(setting: Setting, name: str, tower: RotaryTower, images: Tensor, r: int, place: str) -> Any:
    key = f"{name} {len(images)} {r} {place}"
    return np.asarray(setting.kept(key, lambda: logits(tower, images, r, place).tolist()))


EXPERIMENT = Experiment(
    name="rotary",
    title="Where a merged token stands",
    about="""
Two towers with rotary positions, with random weights: this measures how far merging takes the function from the
unmerged model's, the distance of the logits over their norm, and says nothing of accuracy. A token that stands for
several patches is put at their centre (as all engines do) or stays where its destination stood; r tokens merge at each
layer. As a yardstick, the unmerged model without any rotary position.
""",
    run=run,
    bundles=(),
    data=("photos-test.tar",),
    options=LIMIT,
)
