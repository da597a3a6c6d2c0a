"""The search space of a bundle: the box that its own similarities span."""

import numpy as np
import torch
from numpy.typing import NDArray

from edge.torch_engine import TorchEngine
from offline.measure.inputs import inputs_of
from offline.measure.judges import Samples
from offline.measure.prepared import together
from policies.search.space import SearchSpace
from thinwire.bundle import Bundle
from thinwire.nn.merging.matching import Rule

QUANTILES = np.linspace(0, 1, 41)
# Of speech, equal tokens but for rounding: the silence behind a clip, which is most of a window.
SILENCE = 0.999
LIMITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)


def similarity_quantiles(engine: TorchEngine, images: Samples) -> NDArray[np.float64]:
    """Where each layer's best similarities lie when nothing merges: a ``layers x len(QUANTILES)`` array.

    A threshold at the quantile q of its layer lets a share 1 - q of the sources merge, whatever scale the layer's
    similarities have. Where speech may merge in front, its silence does, or no layer would see much else.
    """
    layers = engine.bundle.steps
    seen: list[list[torch.Tensor]] = [[] for _ in range(layers)]
    met: set[int] = set()

    def watch(layer: int) -> Rule:
        merges = not layer and _merges_silence(engine.bundle)

        def rule(best: torch.Tensor) -> torch.Tensor:
            # A later round's are of what has merged.
            if layer not in met:
                seen[layer].append(best[best.isfinite()])
            met.add(layer)
            return best > (SILENCE if merges else np.inf)

        return rule

    rules = [watch(layer) for layer in range(layers)]
    inputs, group = inputs_of(images, engine), together(engine.bundle)
    for start in range(0, len(inputs), group):
        met.clear()
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
    if _merges_silence(bundle):
        # Which half of the silence rounding lets merge is nothing to search for; at the end of an axis nothing does.
        axes[:, :-1] = np.minimum(axes[:, :-1], SILENCE)
        axes[:, -1] = 1
    return SearchSpace(tuple(tuple(row) for row in axes.tolist()), bundle.codec.rates, (*limits, None))


def _merges_silence(bundle: Bundle) -> bool:
    return bundle.merging.front and bundle.merging.neighbours > 0
