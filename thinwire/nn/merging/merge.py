"""Merging the tokens of any supported model, as one call."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from thinwire.bundle import Merging
from thinwire.errors import InvalidRequestError
from thinwire.nn.merging.tokens import Tokens
from thinwire.nn.merging.transformer import embed, rules_for, run_layers
from thinwire.nn.towers.interface import Tower
from thinwire.nn.towers.models import tower_of


@dataclass(frozen=True)
class Merged:
    """A batch of images behind the layers of a model.

    Attributes:
        tokens: what is left, with its sizes and, for each patch, the token that it went into.
        counts: ``batch x (layers + 1)`` patch tokens that enter the first layer and leave each.
    """

    tokens: Tokens
    counts: Tensor


@torch.inference_mode()
def merge(
    model: nn.Module | Tower, images: Tensor, thresholds: float | Sequence[float], merging: Merging | None = None
) -> Merged:
    """Run a vision transformer's layers with its own weights, merging similar tokens at each (arXiv 2509.09955).

    At a layer with the threshold tau, a token of odd rank whose most similar one of even rank has a cosine above tau
    merges into that. Norms and heads behind the last layer do not run.

    Args:
        model: a model as `thinwire.nn.towers.models.tower_of` takes it, or a tower; in evaluation mode.
        images: ``batch x channels x size x size``, normalised as the model wants it.
        thresholds: one for each layer, or one for all; 1 and above merges nothing there.
        merging: metric, weight, place and size bias; by default the paper's.

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
    if tower.module.training:
        raise InvalidRequestError("the model is in training mode: call model.eval() first")
    expected = (tower.channels, tower.image_size, tower.image_size)
    if images.ndim != 4 or not len(images) or images.shape[1:] != expected:
        raise InvalidRequestError(
            f"expected images of batch x {' x '.join(map(str, expected))}, got {tuple(images.shape)}"
        )
    each = [float(thresholds)] * tower.depth if isinstance(thresholds, int | float) else list(thresholds)
    if len(each) != tower.depth or not all(threshold == threshold for threshold in each):
        raise InvalidRequestError(f"expected {tower.depth} thresholds, one for each layer, got {each}")
    tokens, counts = run_layers(tower, embed(tower, images), rules_for(each), merging or Merging())
    return Merged(tokens, counts)
