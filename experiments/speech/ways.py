"""What a device hears of a clip, what it merges, and what comes of that."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from edge.torch_engine import TorchEngine, Transformed
from experiments.speech.gate import gated
from offline.data.utterances import Utterances
from offline.measure.evaluator import Evaluator
from policies.policy import Policy
from thinwire.audio import SAMPLES_PER_POSITION, log_mel
from thinwire.channels import Channel
from thinwire.nn.merging.tokens import Tokens
from thinwire.nn.merging.transformer import rules_for
from thinwire.nn.towers.interface import SpeechTower

POSITIONS_PER_SECOND = 50
# Clips that are written down together.
GROUP = 8


@dataclass(frozen=True)
class Way:
    """One way to send speech.

    Attributes:
        policy: thresholds, rate and limit.
        margin_s: silence behind the clip that the encoder hears; None: as much as there is in its window.
        is_gated: whether `experiments.speech.gate.gated` trims it first.
        pooled: so many tokens that leave the encoder are averaged into one.
    """

    policy: Policy
    margin_s: float | None = None
    is_gated: bool = False
    pooled: int = 1

    def features(self, audio: NDArray[np.float32], tower: SpeechTower) -> NDArray[np.float32]:
        """What enters the encoder."""
        heard = gated(audio) if self.is_gated else audio
        if self.margin_s is None:
            return log_mel(heard, tower.mel_bins, tower.patches)
        own = -(-len(heard) // SAMPLES_PER_POSITION) + round(POSITIONS_PER_SECOND * self.margin_s)
        return log_mel(heard, tower.mel_bins, min(own, tower.patches))


def measure(evaluator: Evaluator, way: Way, channels: Sequence[Channel], seed: int) -> list[dict[str, Any]]:
    """What a way gives on each channel, as JSON holds it: one of the lists for each utterance."""
    parts = _parts(evaluator, way)
    found = []
    for channel in channels:
        limit = way.policy.max_tokens if channel.model else None
        one = evaluator.measure(parts, way.policy.symbols_per_token, channel, seed, None, limit)
        found.append({
            "errors": (one.asked - one.right).tolist(),
            "tokens": one.tokens.tolist(),
            "uses": one.uses.tolist() if channel.model else [0] * len(one.uses),
            "gmacs": one.edge_gmacs.tolist(),
        })  # fmt: skip
    return found


def _parts(evaluator: Evaluator, way: Way) -> list[tuple[NDArray[np.int64], Transformed]]:
    engine, utterances = evaluator.engine, evaluator.images
    tower = engine.tower
    assert isinstance(utterances, Utterances)
    assert isinstance(tower, SpeechTower)
    rules = rules_for(way.policy.thresholds)
    each = []
    for one in utterances.utterances:
        # Alone: clips of their own lengths would have to be padded.
        transformed = engine.transform(way.features(one.audio, tower)[None], rules)
        each.append(replace(transformed, tokens=pool(transformed.tokens, way.pooled)))
    order = np.argsort([int(one.tokens.counts[0]) for one in each], kind="stable")
    groups = np.split(order, range(GROUP, len(order), GROUP))
    return [(group, _together(engine, [each[index] for index in group])) for group in groups]


def pool(tokens: Tokens, width: int) -> Tokens:
    """Averages of so many tokens in a row, of one clip; the last may be of fewer."""
    if width == 1:
        return tokens
    rows = tokens.x.shape[1]
    owner = torch.arange(rows, device=tokens.x.device) // width
    count = int(owner[-1]) + 1
    sizes = tokens.sizes.new_zeros(1, count).index_add(1, owner, tokens.sizes)
    sums = tokens.x.new_zeros(1, count, tokens.x.shape[-1]).index_add(1, owner, tokens.x * tokens.sizes[..., None])
    return replace(
        tokens,
        x=sums / sizes[..., None],
        sizes=sizes,
        counts=torch.full_like(tokens.counts, count),
        origin=tokens.origin // width,
    )


def _together(engine: TorchEngine, each: Sequence[Transformed]) -> Transformed:
    """Several clips as one batch, whatever their lengths."""
    positions = engine.bundle.patches

    def widened(tokens: Tokens) -> Tokens:
        origin: Tensor = pad(tokens.origin, (0, positions - tokens.origin.shape[1]), value=-1)
        return replace(tokens, origin=origin)

    tokens = Tokens.concatenate([widened(one.tokens) for one in each])
    return Transformed(tokens, torch.cat([one.counts for one in each]), each[0].merged)
