"""The search space of a bundle: the box that its own similarities span."""

import numpy as np
import torch
from numpy.typing import NDArray

from edge.torch_engine import TorchEngine
from offline.measure.inputs import inputs_of
from offline.measure.judges import Samples
from offline.measure.prepared import together
from policies.search.space import SearchSpace
from thinwire.nn.merging.matching import Rule

QUANTILES = np.linspace(0, 1, 41)
LIMITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)


def similarity_quantiles(engine: TorchEngine, images: Samples) -> NDArray[np.float64]:
    """Where each layer's best similarities lie when nothing merges: a ``layers x len(QUANTILES)`` array.

    A threshold at the quantile q of its layer lets a share 1 - q of the sources merge, whatever scale the layer's
    similarities have.
    """
    layers = engine.bundle.steps
    seen: list[list[torch.Tensor]] = [[] for _ in range(layers)]

    def watch(layer: int) -> Rule:
        def rule(best: torch.Tensor) -> torch.Tensor:
            seen[layer].append(best.flatten())
            return torch.zeros_like(best, dtype=torch.bool)

        return rule

    rules = [watch(layer) for layer in range(layers)]
    inputs, group = inputs_of(images, engine), together(engine.bundle)
    for start in range(0, len(inputs), group):
        engine.transform(inputs[start : start + group], rules)
    return np.stack([np.quantile(torch.cat(values).cpu().double().numpy(), QUANTILES) for values in seen])


def search_space(engine: TorchEngine, images: Samples) -> SearchSpace:
    """Thresholds along the quantiles of each layer's similarities, every rate of the codec, and limits on the tokens.

    Args:
        engine: the device's side of the bundle.
        images: a sample, from which the box is found.
    """
    bundle = engine.bundle
    limits = [limit for limit in LIMITS if engine.least_tokens <= limit < bundle.prefix_tokens + bundle.patches]
    # A similarity of 1, and a hair above it in floating point, is that of equal tokens.
    axes = np.clip(similarity_quantiles(engine, images), -1, 1)
    return SearchSpace(tuple(tuple(row) for row in axes.tolist()), bundle.codec.rates, (*limits, None))
