"""Inversion by optimisation: pixels of which the victim's own device would send what was received."""

from dataclasses import dataclass

import torch
from torch import Tensor

from edge.torch_engine import TorchEngine
from experiments.privacy.overheard import Frames
from policies.policy import Policy
from thinwire.nn.merging.matching import merge_down_to
from thinwire.nn.merging.tokens import Tokens
from thinwire.nn.merging.transformer import embed, rules_for, run_layers


@dataclass(frozen=True)
class Search:
    """How pixels are searched for.

    The weights are those of a few tried that cost the network's drawings least, on images of *select*.

    Attributes:
        steps: of Adam.
        learning_rate: of Adam, for pixels in [0, 1].
        variation: weight of the total variation beside the mismatch.
        trust: weight of the squared distance from where the search starts.
    """

    steps: int = 30
    learning_rate: float = 0.003
    variation: float = 0.2
    trust: float = 60.0


def device_side(engine: TorchEngine, images: Tensor, policy: Policy, snr_db: float) -> tuple[Tensor, Tokens]:
    """What the device sends of images, as a function with a gradient wherever no merging decision changes.

    Args:
        images: ``batch x 3 x size x size`` in [0, 1].
        policy: merges by thresholds, and by its limit.
        snr_db: what the encoder assumes.

    Returns:
        ``batch x N x S x 2`` real and imaginary parts, and the tokens.
    """
    preprocessing = engine.bundle.preprocessing
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    entering = embed(engine.tower, (images - mean) / std)
    tokens, _ = run_layers(engine.tower, entering, rules_for(policy.thresholds), engine.bundle.merging)
    tokens = engine.to_send(tokens)
    if policy.max_tokens is not None:
        limits = torch.full_like(tokens.counts, max(1, policy.max_tokens - tokens.prefix.shape[1]))
        tokens = merge_down_to(tokens, limits, engine.bundle.merging.weight).trimmed()
    snr = torch.full((len(images),), float(snr_db))
    rate = torch.full((len(images),), policy.symbols_per_token)
    x = torch.cat((tokens.prefix, tokens.x), dim=1)
    valid = torch.cat((tokens.valid.new_ones(tokens.prefix.shape[:2]), tokens.valid), dim=1)
    pairs = engine.encoder.pairs(x, tokens.all_sizes, valid, snr, rate)
    return pairs[:, :, : policy.symbols_per_token], tokens


def by_place(pairs: Tensor, origin: Tensor) -> Tensor:
    """The symbols of the token that each patch went into: ``batch x patches x S x 2``."""
    return pairs.gather(1, origin[..., None, None].expand(-1, -1, *pairs.shape[2:]))


def mismatch(engine: TorchEngine, target: Tensor, images: Tensor, policy: Policy, snr_db: float) -> Tensor:
    """How far what the device sends of images is from what was received, as a share of the latter's power.

    Candidates are merged by the decisions that the device takes for them, and compared patch by patch: what a patch
    went into with what it is believed to have gone into. So the numbers of tokens need not agree.

    Args:
        target: received symbols by `by_place`.
        images: ``batch x 3 x size x size`` in [0, 1].

    Returns:
        ``batch`` shares.
    """
    pairs, tokens = device_side(engine, images, policy, snr_db)
    error = (by_place(pairs, tokens.origin + tokens.prefix.shape[1]) - target).square().sum((1, 2, 3))
    return error / target.square().sum((1, 2, 3))


def total_variation(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbours, of each image."""
    across, down = images.diff(dim=-1).abs().mean((1, 2, 3)), images.diff(dim=-2).abs().mean((1, 2, 3))
    return across + down


def search(
    engine: TorchEngine, received: Frames, places: Tensor, start: Tensor, policy: Policy, snr_db: float, how: Search
) -> Tensor:
    """Search for pixels from a start.

    Every step decides anew what merges; its gradient is that of the averages.

    Args:
        engine: the victim's device, which the attacker knows; its weights are frozen.
        received: frames after the channel.
        places: ``batch x patches`` int64, the token that each patch is believed to have gone into.
        start: ``batch x 3 x size x size`` in [0, 1].
        policy: under which the frames were sent.
        snr_db: what the device's encoder assumed.
        how: steps and priors.

    Returns:
        the pixels, of the same shape.
    """
    for parameter in (*engine.tower.module.parameters(), *engine.encoder.parameters()):
        parameter.requires_grad_(False)
    target = by_place(received.pairs, places)
    images = start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([images], how.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, how.steps)
    for _ in range(how.steps):
        far = mismatch(engine, target, images, policy, snr_db)
        prior = how.variation * total_variation(images) + how.trust * (images - start).square().mean((1, 2, 3))
        optimiser.zero_grad(set_to_none=True)
        (far + prior).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            images.clamp_(0, 1)
    return images.detach()
