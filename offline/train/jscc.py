"""Training of the JSCC pair with the backbone frozen.

Each step draws some tokens of every image or clip, sends them through a channel of the recipe at a random SNR and rate,
and asks the receiver for what the rest of the model would have said of the very same tokens without a channel. Those of
images are random subsets with random sizes: so the pair never meets a merging policy, and works for all of them.
"""

import hashlib
import logging
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor

from channel.models.registry import canonical, get
from channel.realisation import apply
from offline.train.channels import draw_channels, equalise
from offline.train.running import Checkpoint, digest_of, weights_digest
from offline.train.teachers import Teacher
from offline.train.token_sets import ImageTokens, TokenSets
from thinwire.bundle import MLP, Codec, Merging
from thinwire.errors import InvalidRequestError
from thinwire.images import Preprocessing, normalise
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.nn.codec.encoder import JsccEncoder
from thinwire.nn.codec.encoders import build_encoder
from thinwire.nn.codec.snr_gate import rate_mask
from thinwire.nn.merging.transformer import embed, run_layers
from thinwire.nn.towers.interface import Tower
from thinwire.records import Count, NotNegative, Positive, Text, Whole, record

log = logging.getLogger(__name__)
CHANNELS = ("awgn", "rayleigh")


@record("codec_training")
class CodecRecipe:
    """Hyperparameters of one run.

    Attributes:
        epochs: passes over the training images.
        batch_size: images of a step.
        learning_rate: the highest of the cycle.
        token_loss: weight of the error of the tokens.
        size_loss: weight of the error of their sizes.
        channels: models, one of which is drawn for each frame; one that stands twice is drawn twice as often.
        images: of the training images, the most whose tokens are learnt from; all where it is None.
        token_epochs: first epochs, in which the errors of tokens and sizes alone are learnt from.

    Raises:
        InvalidRequestError: there is no channel, or no such one, or fewer images than a batch.
    """

    epochs: Count
    batch_size: Count
    learning_rate: Positive
    token_loss: NotNegative
    size_loss: NotNegative
    channels: Annotated[tuple[Text, ...], Field(min_length=1)] = CHANNELS
    images: Count | None = None
    token_epochs: Whole = 0

    def __post_init__(self) -> None:
        if self.images is not None and self.images < self.batch_size:
            raise InvalidRequestError(f"images: expected a batch of {self.batch_size} at least, got {self.images}")
        object.__setattr__(self, "channels", tuple(canonical(name) for name in self.channels))


@torch.inference_mode()
def token_features(
    tower: Tower,
    layers: int,
    pixels: NDArray[np.uint8],
    preprocessing: Preprocessing,
    prefix_tokens: int,
    batch: int = 256,
    kept: Path | None = None,
) -> Tensor:
    """The tokens that a device sends when nothing merges.

    Args:
        tower: on any device.
        layers: how many of its layers run.
        pixels: ``n x size x size x 3``.
        preprocessing: of the tower's input.
        prefix_tokens: class tokens that are sent.
        batch: images that run at once.
        kept: folder where each batch's are kept, so that a second call goes on where the first was stopped.

    Returns:
        an ``n x tokens x D`` tensor of float16 on the CPU.
    """
    device = next(tower.module.parameters()).device
    if kept is not None:
        content = hashlib.sha256(pixels.tobytes()).hexdigest()
        kept /= digest_of(weights_digest(tower.module), layers, preprocessing, prefix_tokens, batch, content)
        kept.mkdir(parents=True, exist_ok=True)
    features = []
    for start in range(0, len(pixels), batch):
        path = None if kept is None else kept / f"{start}.safetensors"
        if path is not None and path.exists():
            features.append(load_file(path)["tokens"])
            continue
        inputs = torch.from_numpy(normalise(pixels[start : start + batch], preprocessing)).to(device)
        tokens, _ = run_layers(tower, embed(tower, inputs), [None] * layers, Merging())
        sent = tokens.with_prefix(prefix_tokens)
        features.append(torch.cat((sent.prefix, sent.x), dim=1).half().cpu())
        if path is not None:
            partial = path.with_suffix(".partial")
            save_file({"tokens": features[-1]}, partial)
            partial.replace(path)
            log.info("tokens of %d of %d images", min(start + batch, len(pixels)), len(pixels))
    return torch.cat(features)


class CodecTrainer:
    """One pair in training.

    Args:
        teacher: what reads the tokens.
        codec: shape of the pair, its SNR range.
        recipe: hyperparameters.
        features: tokens that are sent of each training image, ``n x tokens x D``; or sets of tokens.
        checkpoint: written after every epoch; training goes on from it where it exists.
        seed: of weights, subsets and channels.
        begin_with: a pair of the same shape, trained on other tokens, to begin with instead of random weights.

    Raises:
        InvalidRequestError: the checkpoint is of another training (by `run`).
    """

    def __init__(
        self,
        teacher: Teacher,
        codec: Codec,
        recipe: CodecRecipe,
        features: Tensor | TokenSets,
        checkpoint: Path,
        seed: int = 0,
        begin_with: tuple[JsccEncoder, JsccDecoder] | None = None,
    ) -> None:
        torch.manual_seed(seed)
        self.device = teacher.device
        self.teacher = teacher
        self.codec = codec
        self.recipe = recipe
        self.sets = ImageTokens(features, teacher.prefix) if isinstance(features, Tensor) else features
        self.seed = seed
        self._channels = [get(name) for name in recipe.channels]
        asked = repr((teacher.digest, codec, recipe, seed, self.sets.key))
        # These fields came later: where they have their defaults, older checkpoints go on.
        for default in (f", encoder={MLP!r}", f", channels={CHANNELS!r}", ", images=None", ", token_epochs=0"):
            asked = asked.replace(default, "")
        if begin_with is not None:
            asked += "".join(map(weights_digest, begin_with))
        width = teacher.width
        self.encoder = build_encoder(codec, width).to(self.device)
        self.decoder = JsccDecoder(width, codec.hidden, codec.max_symbols_per_token).to(self.device)
        if begin_with is not None:
            for ours, given in zip((self.encoder, self.decoder), begin_with, strict=True):
                ours.load_state_dict(given.state_dict())
        sample = self.sets.rows()
        self.decoder.mean.copy_(sample.mean(0))
        self.decoder.std.copy_(sample.std(0))
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.optimiser = torch.optim.AdamW(parameters, recipe.learning_rate, weight_decay=0.01)
        self.steps = len(self.sets) // recipe.batch_size
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, recipe.learning_rate, total_steps=self.steps * recipe.epochs + 1, pct_start=0.1
        )
        parts = {
            "encoder": self.encoder,
            "decoder": self.decoder,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
        }
        self.state = Checkpoint(checkpoint, parts, hashlib.sha256(asked.encode()).hexdigest(), "epoch")

    def _loss(self, items: NDArray[np.int64], generator: np.random.Generator, is_taught: bool = True) -> Tensor:
        x, sizes, valid, counted = (part.to(self.device) for part in self.sets.draw(items, generator))
        batch = len(x)
        snr = torch.from_numpy(generator.uniform(*self.codec.snr_db, size=batch)).float()
        symbols = self.codec.max_symbols_per_token
        # Half of the frames at the low rates, which are the hard ones.
        uniform = generator.integers(1, symbols + 1, size=batch)
        low = np.exp2(generator.uniform(0, np.log2(symbols + 0.999), size=batch)).astype(np.int64)
        rates = np.where(generator.random(batch) < 0.5, uniform, low)
        shape = (batch, x.shape[1], symbols)
        realisation = draw_channels(self._channels, shape, rates, snr.tolist(), generator, self.device)
        rate = torch.from_numpy(rates).to(self.device)

        sent = self.encoder(x, sizes, valid, snr.to(self.device), rate)
        received = apply(sent, realisation)
        equalised, variance = equalise(received, realisation, rate_mask(rate, symbols) & valid[..., None])
        decoded, weights = self.decoder(equalised, variance, valid, rate)

        shares = (sizes * valid) / (sizes * valid).sum(1, keepdim=True)
        error = ((decoded - x) / self.decoder.std).square().mean(-1)
        size_error = (shares * (shares.clamp_min(1e-9) / weights.clamp_min(1e-9)).log()).sum(1)
        token_error = (error * counted).sum(1) / counted.sum(1)
        loss: Tensor = self.recipe.token_loss * token_error.mean() + self.recipe.size_loss * size_error.mean()
        if is_taught:
            loss = loss + self.teacher.divergence(x, sizes, decoded, weights, valid, items, generator)
        return loss

    def run(self) -> None:
        """Train, or go on from the checkpoint."""
        first = self.state.resume(self.device)
        for epoch in range(first, self.recipe.epochs):
            # Seeded by the epoch, so that a resumed run meets what an unbroken one would.
            generator = np.random.default_rng((self.seed, epoch))
            started, total = time.monotonic(), 0.0
            for chosen in self.sets.batches(self.recipe.batch_size, generator):
                loss = self._loss(chosen, generator, epoch >= self.recipe.token_epochs)
                self.optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_([*self.encoder.parameters(), *self.decoder.parameters()], 1.0)
                self.optimiser.step()
                self.schedule.step()
                total += loss.item()
            log.info("codec epoch %d/%d: loss %.4f, %.0f s", epoch + 1, self.recipe.epochs,
                     total / self.steps, time.monotonic() - started)  # fmt: skip
            self.state.save(epoch + 1)
        self.encoder.cpu().eval()
        self.decoder.cpu().eval()
