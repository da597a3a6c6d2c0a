"""A linear head for a frozen model that has none: logistic regression on what its own head would read."""

import logging
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from offline.data.images import LabelledImages
from thinwire.images import Preprocessing, normalise

log = logging.getLogger(__name__)
BATCH = 32
STEPS = 200
# Of the squared weights; features are brought to unit variance first.
DECAY = 1e-3


def fit_head(model: Any, images: LabelledImages, preprocessing: Preprocessing) -> None:
    """Fit the last linear layer in place; the rest of the model stays as it is.

    Args:
        model: whose head is ``head``, or ``model.classifier`` of one of transformers' classes.
        images: to train on, with their labels.
        preprocessing: of the model.
    """
    head: nn.Linear = model.head if isinstance(getattr(model, "head", None), nn.Linear) else model.model.classifier
    device = next(model.parameters()).device
    features = _features(model.eval(), head, images, preprocessing, device)
    labels = torch.from_numpy(images.labels).to(device)
    mean, scale = features.mean(0), features.std(0).clamp_min(1e-6)
    units = (features - mean) / scale
    weight = torch.zeros_like(head.weight).requires_grad_()
    bias = torch.zeros_like(head.bias).requires_grad_()
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(units @ weight.T + bias, labels) + DECAY * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        head.weight.copy_(weight / scale)
        head.bias.copy_(bias - (weight / scale) @ mean)
        right = (units @ weight.T + bias).argmax(1).eq(labels).float().mean()
    log.info("fitted a head on %d features, right on %.1f%% of what it was fitted to", features.shape[1], 100 * right)


@torch.inference_mode()
def _features(
    model: nn.Module, head: nn.Linear, images: LabelledImages, preprocessing: Preprocessing, device: torch.device
) -> Tensor:
    read: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, arguments: read.append(arguments[0]))
    try:
        for start in range(0, len(images), BATCH):
            model(torch.from_numpy(normalise(images.pixels[start : start + BATCH], preprocessing)).to(device))
    finally:
        hook.remove()
    return torch.cat(read).clone()
