"""Merging the tokens of any supported model, as one call."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from thinwire.bundle import Merging
from thinwire.errors import InvalidRequestError
from thinwire.nn.merging.tokens import Tokens
from thinwire.nn.merging.transformer import embed, rules_for, run_layers
from thinwire.nn.towers.interface import ImageTower, Tower
from thinwire.nn.towers.models import tower_of


@dataclass(frozen=True)
class Merged:
    """A batch of images or clips behind the layers of a model.

    Attributes:
        tokens: what is left, with its sizes and, for each patch, the token that it went into.
        counts: ``batch x (thresholds + 1)`` patch tokens that enter the first layer and leave each; with
            `Merging.front`, also those that leave the merge in front, in the second place.
    """

    tokens: Tokens
    counts: Tensor


@torch.no_grad()
def merge(model: nn.Module | Tower, images: Tensor, thresholds: ArrayLike, merging: Merging | None = None) -> Merged:
    """Run a transformer's layers with its own weights, merging similar tokens at each (arXiv 2509.09955).

    At a layer with the threshold tau, a token of odd rank whose most similar one of even rank has a cosine above tau
    merges into that. Norms and heads behind the last layer do not run, and no gradients are kept.

    Args:
        model: a model as `thinwire.nn.towers.models.tower_of` takes it, or a tower; in evaluation mode.
        images: ``batch x channels x size x size``, normalised as the model wants it; or, for Whisper, log-mel features
            of ``batch x bins x frames``, for 30 s or for less.
        thresholds: one for each layer, with `Merging.front` one more in front of them, or one for all; 1 and above
            merges nothing there.
        merging: how layers merge; by default as in the paper.

    Raises:
        InvalidRequestError: the model is not supported or is training, or images or thresholds do not fit it.

    Example:
        >>> from thinwire import merge
        >>> import timm, torch
        >>> model = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=4).eval()
        >>> merged = merge(model, torch.ones(1, 3, 64, 64), thresholds=0.9)
        >>> merged.counts.shape, int(merged.tokens.sizes.sum())
        (torch.Size([1, 5]), 16)
        >>> bool(merged.counts[0, -1] < 16)
        True
    """
    tower = tower_of(model)
    if any(part.training for part in tower.module.modules()):
        raise InvalidRequestError("the model, or a part of it, is in training mode: call model.eval() first")
    taken = next(tower.module.parameters()).dtype
    if isinstance(tower, ImageTower):
        shape = (tower.channels, tower.image_size, tower.image_size)
        fits, what = images.shape[1:] == shape, f"images of batch x {' x '.join(map(str, shape))}"
    else:
        # Which numbers of frames it takes, the tower says itself.
        fits, what = images.ndim == 3, "features of batch x bins x frames"
    if not fits or not len(images) or images.dtype != taken:
        raise InvalidRequestError(f"expected {taken} {what}, got {images.dtype} of {tuple(images.shape)}")
    merging = merging or Merging()
    steps = tower.depth + merging.front
    given = np.asarray(thresholds, np.float64)
    if given.shape not in ((), (steps,)) or np.isnan(given).any():
        raise InvalidRequestError(f"expected {steps} thresholds, one for each layer, got {thresholds!r:.80}")
    each = np.broadcast_to(given, steps).tolist()
    tokens, counts = run_layers(tower, embed(tower, images), rules_for(each), merging)
    return Merged(tokens, counts)
