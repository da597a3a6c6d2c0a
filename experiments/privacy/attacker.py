"""Training of an attacker's network, on images of its own and for one policy."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from experiments.privacy.likeness import psnr
from experiments.privacy.network import InversionNetwork
from experiments.privacy.overheard import Frames, batches
from offline.train.running import load_state

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one run.

    Attributes:
        place_loss: weight of the cross-entropy of places beside ten times the squared error of pixels in [0, 1].
    """

    epochs: int
    batch_size: int = 32
    learning_rate: float = 2e-3
    width: int = 48
    place_loss: float = 0.03


class Attacker:
    """One network in training, which draws new noise for every frame in every epoch.

    Args:
        frames: what the attacker's own images become under the policy, before the channel, with the places that it
            knows of them.
        pixels: these images, ``n x size x size x 3``.
        snr_db: at which it listens; None hears no noise.
        recipe: hyperparameters.
        checkpoint: written after every epoch; training goes on from it where it exists.
        seed: of weights, order and noise.

    Raises:
        InvalidRequestError: the checkpoint cannot be read, or is of another training (by `run`).
    """

    def __init__(
        self,
        frames: Frames,
        pixels: NDArray[np.uint8],
        snr_db: float | None,
        recipe: Recipe,
        checkpoint: Path,
        seed: int = 0,
    ) -> None:
        torch.manual_seed(seed)
        self.frames = frames
        self.pixels = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        self.snr_db = snr_db
        self.recipe = recipe
        self.checkpoint = checkpoint
        self.seed = seed
        patches = frames.origin.shape[1]
        patch = round((pixels.shape[1] * pixels.shape[2] / patches) ** 0.5)
        most = max(patches, frames.pairs.shape[1])
        self.network = InversionNetwork(frames.pairs.shape[2], patches, patch, recipe.width, most)
        generator = torch.Generator().manual_seed(seed)
        sample = frames.take(torch.arange(min(512, len(frames)))).through_noise(snr_db, generator)
        self.network.fit_scale(sample.pairs, sample.valid)
        self.network.mean_image.copy_(torch.from_numpy(pixels.mean(0) / 255).permute(2, 0, 1))
        self.optimiser = torch.optim.AdamW(self.network.parameters(), recipe.learning_rate, weight_decay=0.01)
        steps = len(frames) // recipe.batch_size * recipe.epochs
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, recipe.learning_rate, total_steps=steps + 1, pct_start=0.1
        )
        digest = hashlib.sha256(repr((snr_db, recipe, seed)).encode())
        for tensor in (frames.pairs, frames.counts, frames.origin, self.pixels):
            digest.update(tensor.numpy().tobytes())
        self._asked = digest.hexdigest()

    def _loss(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        frames = self.frames.take(chosen).through_noise(self.snr_db, generator)
        drawn, logits = self.network(frames.pairs, frames.valid)
        pixel_error = (drawn - self.pixels[chosen] / 255).square().mean()
        place_error = F.cross_entropy(logits.transpose(1, 2), frames.origin)
        loss: Tensor = 10 * pixel_error + self.recipe.place_loss * place_error
        return loss

    def run(self, watched: Frames, pixels: NDArray[np.uint8]) -> list[float]:
        """Train, or go on from the checkpoint.

        Args:
            watched: received frames that are not trained on.
            pixels: their images.

        Returns:
            mean PSNR in dB on the watched images after each epoch.
        """
        first, curve = 0, []
        if self.checkpoint.exists():
            state = load_state(self.checkpoint, "cpu", self._asked)
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
            first, curve = state["epoch"], state["curve"]
        for epoch in range(first, self.recipe.epochs):
            # Seeded by the epoch, so that a resumed run meets what an unbroken one would.
            order, noise = np.random.default_rng((self.seed, epoch)), torch.Generator().manual_seed(self.seed + epoch)
            self.network.train()
            for chosen in batches(len(self.frames), self.recipe.batch_size, order):
                loss = self._loss(chosen, noise)
                self.optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
                self.optimiser.step()
                self.schedule.step()
            curve.append(float(psnr(self.draw(watched)[0], pixels).mean()))
            log.info("%s, epoch %d/%d: %.2f dB", self.checkpoint.stem, epoch + 1, self.recipe.epochs, curve[-1])
            state = {name: part.state_dict() for name, part in self._parts().items()}
            partial = self.checkpoint.with_suffix(".partial")
            torch.save(state | {"epoch": epoch + 1, "curve": curve, "asked": self._asked}, partial)
            partial.replace(self.checkpoint)
        return curve

    @torch.inference_mode()
    def draw(self, received: Frames, batch: int = 256) -> tuple[NDArray[np.uint8], Tensor]:
        """What the network makes of received frames.

        Returns:
            ``n x size x size x 3`` pixels, and ``n x patches`` int64, the token that each patch is believed to be in.
        """
        self.network.eval()
        images, places = [], []
        for start in range(0, len(received), batch):
            frames = received.take(torch.arange(start, min(start + batch, len(received))))
            drawn, logits = self.network(frames.pairs, frames.valid)
            images.append(to_pixels(drawn))
            places.append(logits.argmax(-1))
        return np.concatenate(images), torch.cat(places)

    def _parts(self) -> dict[str, torch.nn.Module | torch.optim.Optimizer | torch.optim.lr_scheduler.LRScheduler]:
        return {"network": self.network, "optimiser": self.optimiser, "schedule": self.schedule}


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """``n x size x size x 3`` pixels of eight bits from ``n x 3 x size x size`` values in [0, 1]."""
    rounded: NDArray[np.uint8] = (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return rounded
