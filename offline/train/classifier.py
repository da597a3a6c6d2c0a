"""Training of a reference backbone, from scratch or from published weights: no merging, no channel.

Most epochs drop patches (Liu et al., 2022, "PatchDropout"), which saves as much of their cost; the last ones may see
whole images. Checkpoints make the run resumable to the same weights' schedule.
"""

import logging
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torch.nn.attention import sdpa_kernel

from offline.data.images import LabelledImages
from offline.train.running import Checkpoint, attention_backends, digest_of, mixed_precision, weights_digest
from thinwire.errors import InvalidRequestError
from thinwire.images import Preprocessing, normalise
from thinwire.nn.backbone import VisionTransformer, build_backbone, group_parameters
from thinwire.records import Count, NotNegative, Positive, Real, Share, Whole, record

log = logging.getLogger(__name__)
STEPS_BETWEEN_CHECKPOINTS = 50
# Of the learning rate, under which a layer is not worth its backward pass.
LEAST_SHARE = 0.1
PositiveShare = Annotated[Real, Field(gt=0, le=1)]


@record("backbone_training")
class BackboneRecipe:
    """Hyperparameters of one run; the learning rate follows one cycle over all epochs.

    ``head_learning_rate`` is the head's, which has more to learn where the rest begins with published weights.
    ``layer_decay`` is by what factor the learning rate falls from one layer to the one before it (Bao et al., 2022,
    "BEiT"); layers that would get less than `LEAST_SHARE` of it stay as they are, which saves their backward pass.
    ``smallest_crop`` is the least share of an image's area that is seen of it; without it, images are only shifted.

    Raises:
        InvalidRequestError: there is no epoch.
    """

    epochs_dropped: Whole
    epochs_whole: Whole
    patch_drop_rate: Annotated[Real, Field(ge=0, lt=1)]
    batch_size: Count
    learning_rate: Positive
    weight_decay: NotNegative
    label_smoothing: Share
    head_learning_rate: Positive | None = None
    layer_decay: PositiveShare | None = None
    smallest_crop: PositiveShare | None = None

    def __post_init__(self) -> None:
        if not self.epochs:
            raise InvalidRequestError("epochs_whole: expected an epoch at least, dropped or whole, got none")

    @property
    def epochs(self) -> int:
        """All epochs of the run."""
        return self.epochs_dropped + self.epochs_whole


def augment(images: Tensor, generator: torch.Generator, smallest_crop: float | None = None) -> Tensor:
    """Flip, shift or crop, scale brightness and contrast, and cut out.

    Shifts go up to an eighth of the width (reflected border). A crop is of a random share of the area and of an aspect
    between 3:4 and 4:3, brought back to the whole size (Szegedy et al., 2015, "Going deeper with convolutions").
    What is cut out is a square of a quarter of the width, set to the image's mean (DeVries and Taylor, 2017); near the
    border it is partly outside.

    Args:
        images: a ``batch x 3 x height x width`` tensor of uint8.
        generator: a CPU generator; every image draws for itself.
        smallest_crop: the least share of the area that a crop has; None: shift instead.

    Returns:
        a tensor of the same shape, float32 in [0, 255].
    """
    batch, _, height, width = images.shape
    device = images.device
    moved = _shifted(images, generator) if smallest_crop is None else _cropped(images, generator, smallest_crop)
    brightness, contrast = (0.8 + 0.4 * torch.rand(2, batch, 1, 1, 1, generator=generator)).to(device)
    mean = moved.mean((1, 2, 3), keepdim=True)
    scaled = ((moved - mean) * contrast + mean * brightness).clamp(0, 255)
    side = width // 4
    corners = (torch.rand(2, batch, 1, generator=generator) * torch.tensor([height, width])[:, None, None]).long()
    top, left = corners.to(device) - side // 2
    cut_rows = (torch.arange(height, device=device) - top).div(side, rounding_mode="floor") == 0
    cut_columns = (torch.arange(width, device=device) - left).div(side, rounding_mode="floor") == 0
    cut = cut_rows[:, None, :, None] & cut_columns[:, None, None, :]
    return torch.where(cut, scaled.mean((1, 2, 3), keepdim=True), scaled)


def _shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    batch, _, height, width = images.shape
    device = images.device
    margin = width // 8
    shifts = torch.randint(0, 2 * margin + 1, (2, batch, 1), generator=generator).to(device)
    flips = torch.rand(batch, 1, generator=generator).to(device) < 0.5
    rows = torch.arange(height, device=device) + shifts[0]
    columns = torch.arange(width, device=device).expand(batch, width)
    columns = torch.where(flips, width - 1 - columns, columns) + shifts[1]
    padded = F.pad(images.float(), (margin,) * 4, mode="reflect")
    index = torch.arange(batch, device=device)[:, None, None]
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cropped(images: Tensor, generator: torch.Generator, smallest: float) -> Tensor:
    area, aspect, flip, x, y = torch.rand(5, len(images), generator=generator)
    side = (smallest + (1 - smallest) * area).sqrt()
    # Neither side may be longer than the image's.
    ratio = (0.75 ** (2 * aspect - 1)).sqrt().clamp(side, 1 / side)
    width, height = side * ratio, side / ratio
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0], theta[:, 0, 2] = torch.where(flip < 0.5, -width, width), (2 * x - 1) * (1 - width)
    theta[:, 1, 1], theta[:, 1, 2] = height, (2 * y - 1) * (1 - height)
    grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)


@torch.inference_mode()
def accuracy(model: VisionTransformer, images: LabelledImages, preprocessing: Preprocessing, batch: int = 256) -> float:
    """Top-1 accuracy of the plain model, in [0, 1]."""
    model.eval()
    device = next(model.parameters()).device
    correct = 0
    for start in range(0, len(images), batch):
        inputs = torch.from_numpy(normalise(images.pixels[start : start + batch], preprocessing)).to(device)
        labels = torch.from_numpy(images.labels[start : start + batch]).to(device)
        correct += int((model(inputs).argmax(1) == labels).sum())
    return correct / len(images)


def train_backbone(
    spec: dict[str, Any],
    recipe: BackboneRecipe,
    train: LabelledImages,
    select: LabelledImages,
    preprocessing: Preprocessing,
    checkpoint: Path,
    seed: int = 0,
    begin_with: dict[str, Tensor] | None = None,
) -> VisionTransformer:
    """Train, or go on from ``checkpoint``; uses a GPU where there is one.

    Args:
        spec: of the model; see `build_backbone`.
        recipe: hyperparameters.
        train: what is learnt.
        select: what the accuracy in the log is measured on.
        preprocessing: of the model's input.
        checkpoint: written every `STEPS_BETWEEN_CHECKPOINTS` steps and after every epoch.
        seed: of weights, augmentation and dropped patches.
        begin_with: the model's state, instead of random weights.

    Returns:
        the model after the last epoch, on the CPU, in evaluation mode.

    Raises:
        InvalidRequestError: the checkpoint is of another training, or none.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    model = build_backbone(spec, patch_drop_rate=recipe.patch_drop_rate).to(device, memory_format=torch.channels_last)
    if begin_with is not None:
        model.load_state_dict(begin_with)
    groups = _parameter_groups(model, recipe)
    optimiser = torch.optim.AdamW(groups)
    steps = len(train) // recipe.batch_size
    rates = [group["lr"] for group in groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rates, total_steps=steps * recipe.epochs + 1, pct_start=0.15
    )
    begun = None if begin_with is None else weights_digest(model)
    asked = digest_of(spec, recipe, preprocessing, seed, len(train), train.classes, begun)
    state = Checkpoint(checkpoint, {"model": model, "optimiser": optimiser, "schedule": schedule}, asked, "step")
    done = state.resume(device)
    mean, std = (
        torch.tensor(values, device=device)[:, None, None] * 255 for values in (preprocessing.mean, preprocessing.std)
    )
    pixels = torch.from_numpy(train.pixels).permute(0, 3, 1, 2).contiguous().to(device)
    labels = torch.from_numpy(train.labels).to(device)
    whole = build_backbone(spec).patch_drop
    for epoch in range(done // steps, recipe.epochs):
        if epoch >= recipe.epochs_dropped:
            model.patch_drop = whole
        model.train()
        order = torch.randperm(len(train), generator=_generator(seed, epoch)).to(device)
        started, losses = time.monotonic(), torch.zeros(steps, device=device)
        for step in range(done - epoch * steps, steps):
            # Seeded by the step, so that a resumed run meets what an unbroken one would; torch's own generator drops
            # the patches.
            generator = _generator(seed, epoch, step)
            torch.manual_seed(generator.initial_seed())
            chosen = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            inputs = (augment(pixels[chosen], generator, recipe.smallest_crop) - mean) / std
            with sdpa_kernel(attention_backends(device)), mixed_precision(device):
                logits = model(inputs.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits.float(), labels[chosen], label_smoothing=recipe.label_smoothing)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            done += 1
            losses[step] = loss.detach()
            if done % STEPS_BETWEEN_CHECKPOINTS == 0 and step + 1 < steps:
                state.save(done)
                log.info("backbone step %d/%d: loss %.3f", done, steps * recipe.epochs, _latest(losses[: step + 1]))
        state.save(done)
        log.info(
            "backbone epoch %d/%d: loss %.3f, select accuracy %.4f, %.0f s",
            epoch + 1, recipe.epochs, _latest(losses), accuracy(model, select, preprocessing),
            time.monotonic() - started,
        )  # fmt: skip
    model.patch_drop = whole
    model.requires_grad_(True)
    return model.cpu().eval()


def _latest(losses: Tensor) -> float:
    """The mean of those steps of the last fifty that this run took."""
    latest = losses[-50:]
    return float(latest[latest > 0].mean())


def _parameter_groups(model: VisionTransformer, recipe: BackboneRecipe) -> list[dict[str, Any]]:
    """Matrices decay, vectors do not; the head has a learning rate of its own, and so have layers where rates decay."""
    layers = group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    last = max(layers.values())
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        share = (recipe.layer_decay or 1.0) ** (last - layers[name])
        if name.startswith("head"):
            rate = recipe.head_learning_rate or recipe.learning_rate
        elif share < LEAST_SHARE:
            parameter.requires_grad_(False)
            continue
        else:
            rate = recipe.learning_rate * share
        groups.setdefault((rate, recipe.weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [{"params": some, "weight_decay": decay, "lr": rate} for (rate, decay), some in groups.items()]


def _generator(*key: int) -> torch.Generator:
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]) >> 1
    return torch.Generator().manual_seed(seed)
