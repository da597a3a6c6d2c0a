"""Training of a reference backbone from scratch: plain classification, no merging, no channel.

Most epochs drop half of the patches (Liu et al., 2022, "PatchDropout"), which halves their cost; the last ones see
whole images. A checkpoint after every epoch makes the run resumable to the same weights' schedule.
"""

import logging
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor
from torch.nn.attention import sdpa_kernel

from offline.data.images import LabelledImages
from offline.train.running import Checkpoint, attention_backends, digest_of
from thinwire.images import Preprocessing, normalise
from thinwire.nn.backbone import VisionTransformer, build_backbone
from thinwire.records import Count, NotNegative, Positive, Real, Share, Whole, record

log = logging.getLogger(__name__)


@record("backbone_training")
class BackboneRecipe:
    """Hyperparameters of one run; the learning rate follows one cycle over all epochs."""

    epochs_dropped: Whole
    epochs_whole: Count
    patch_drop_rate: Annotated[Real, Field(ge=0, lt=1)]
    batch_size: Count
    learning_rate: Positive
    weight_decay: NotNegative
    label_smoothing: Share

    @property
    def epochs(self) -> int:
        """All epochs of the run."""
        return self.epochs_dropped + self.epochs_whole


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Flip, shift by up to an eighth of the width (reflected border), scale brightness and contrast, and cut out.

    What is cut out is a square of a quarter of the width, set to the image's mean (DeVries and Taylor, 2017); near the
    border it is partly outside.

    Args:
        images: a ``batch x 3 x height x width`` tensor of uint8.
        generator: a CPU generator; every image draws for itself.

    Returns:
        a tensor of the same shape, float32 in [0, 255].
    """
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
    shifted = padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    brightness, contrast = (0.8 + 0.4 * torch.rand(2, batch, 1, 1, 1, generator=generator)).to(device)
    mean = shifted.mean((1, 2, 3), keepdim=True)
    scaled = ((shifted - mean) * contrast + mean * brightness).clamp(0, 255)
    side = width // 4
    corners = (torch.rand(2, batch, 1, generator=generator) * torch.tensor([height, width])[:, None, None]).long()
    top, left = corners.to(device) - side // 2
    cut_rows = (torch.arange(height, device=device) - top).div(side, rounding_mode="floor") == 0
    cut_columns = (torch.arange(width, device=device) - left).div(side, rounding_mode="floor") == 0
    cut = cut_rows[:, None, :, None] & cut_columns[:, None, None, :]
    return torch.where(cut, scaled.mean((1, 2, 3), keepdim=True), scaled)


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
) -> VisionTransformer:
    """Train, or go on from ``checkpoint``; uses a GPU where there is one.

    Returns:
        the model after the last epoch, on the CPU, in evaluation mode.

    Raises:
        InvalidRequestError: the checkpoint is of another training, or none.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    model = build_backbone(spec, patch_drop_rate=recipe.patch_drop_rate).to(device, memory_format=torch.channels_last)
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    rest = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
    )
    steps = len(train) // recipe.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=steps * recipe.epochs + 1, pct_start=0.15
    )
    asked = digest_of(spec, recipe, preprocessing, seed, len(train), train.classes)
    state = Checkpoint(checkpoint, {"model": model, "optimiser": optimiser, "schedule": schedule}, asked, "epoch")
    first = state.resume(device)
    mean, std = (
        torch.tensor(values, device=device)[:, None, None] * 255 for values in (preprocessing.mean, preprocessing.std)
    )
    pixels = torch.from_numpy(train.pixels).permute(0, 3, 1, 2).contiguous().to(device)
    labels = torch.from_numpy(train.labels).to(device)
    whole = build_backbone(spec).patch_drop
    for epoch in range(first, recipe.epochs):
        if epoch >= recipe.epochs_dropped:
            model.patch_drop = whole
        model.train()
        # Seeded by the epoch, so that a resumed run meets the batches that an unbroken one would; torch's own generator
        # drops the patches.
        torch.manual_seed(seed * 1000 + epoch)
        generator = torch.Generator().manual_seed(seed * 1000 + epoch)
        order = torch.randperm(len(train), generator=generator).to(device)
        started, total = time.monotonic(), 0.0
        for step in range(steps):
            chosen = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            inputs = (augment(pixels[chosen], generator) - mean) / std
            with sdpa_kernel(attention_backends(device)), torch.autocast(device.type, torch.bfloat16):
                logits = model(inputs.contiguous(memory_format=torch.channels_last))
            loss = F.cross_entropy(logits.float(), labels[chosen], label_smoothing=recipe.label_smoothing)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if step % 50 == 0:
                total = loss.item() if step == 0 else 0.9 * total + 0.1 * loss.item()
        log.info(
            "backbone epoch %d/%d: loss %.3f, select accuracy %.4f, %.0f s",
            epoch + 1, recipe.epochs, total, accuracy(model, select, preprocessing), time.monotonic() - started,
        )  # fmt: skip
        state.save(epoch + 1)
    return model.cpu().eval()
