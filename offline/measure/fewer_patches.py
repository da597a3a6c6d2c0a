"""Baselines without any merging: fewer patches for the same model, or the class token alone for its cloud."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from channel.realisation import keyed_generator
from edge.torch_engine import TorchEngine, Transformed
from offline.data.images import LabelledImages
from offline.measure.evaluator import Evaluator, Measurement, request_id_of
from offline.measure.judges import LabelJudge, Verdict
from thinwire.channels import Channel
from thinwire.equalise import ReceivedTokens
from thinwire.images.preprocessing import RESAMPLING
from thinwire.nn.backbone import TOKEN_AND_MEAN, TokenAndMean, VisionTransformer
from thinwire.nn.codec.decoder import decode_frames
from thinwire.nn.towers.timm_tower import TimmTower

Parts = list[tuple[NDArray[np.int64], Transformed]]
GROUP = 32


def can_prune(evaluator: Evaluator) -> bool:
    """Whether patches can be dropped: rotary positions are found from what every patch went into."""
    return not getattr(evaluator.engine.tower, "rotary", False)


@torch.inference_mode()
def prune(evaluator: Evaluator, kept: int, seed: int) -> Parts:
    """The images after the device's blocks, with so many patches of each; the others are dropped at random.

    That happens once, between embedding and first layer, where it saves most (Liu et al., 2023, "PatchDropout"). What
    is kept stands for itself: all sizes are 1. It is drawn by the seed and the image's name, and fewer are a part of
    more.
    """
    engine, images = evaluator.engine, evaluator.images
    layers, patches = evaluator.bundle.steps, evaluator.bundle.patches
    parts = []
    for start in range(0, len(images), GROUP):
        indices = np.arange(start, min(start + GROUP, len(images)))
        whole = engine.embed(evaluator.pixels[indices])
        drawn = [_drawn(patches, images.names[index], seed)[:kept] for index in indices]
        rows = torch.from_numpy(np.sort(np.stack(drawn), axis=1)).to(whole.x.device)
        ranks = torch.arange(kept, device=rows.device).expand_as(rows)
        tokens = replace(
            whole,
            x=whole.x.gather(1, rows[..., None].expand(-1, -1, whole.x.shape[-1])),
            counts=torch.full_like(whole.counts, kept),
            sizes=whole.sizes[:, :kept],
            origin=torch.full_like(whole.origin, -1 - whole.prefix.shape[1]).scatter(1, rows, ranks),
        )
        after, counts = engine.run(tokens, [None] * layers)
        parts.append((indices, Transformed(engine.to_send(after), counts, (False,) * layers)))
    return parts


def _drawn(patches: int, name: str, seed: int) -> NDArray[np.int64]:
    return keyed_generator(seed, "random pruning", request_id_of(name), 0).permutation(patches)


def smaller_sides(evaluator: Evaluator) -> list[int]:
    """Patches along the side of smaller photographs, in eighths of the model's own, largest first.

    None where the model is not one whose positions timm resamples.
    """
    model: Any = evaluator.engine.tower.module
    if type(model) not in (VisionTransformer, TokenAndMean) or not can_prune(evaluator):
        return []
    side = model.patch_embed.grid_size[0]
    return sorted({max(1, round(side * eighths / 8)) for eighths in (3, 4, 5, 6, 7)} - {side}, reverse=True)


def scale_down(evaluator: Evaluator, side: int) -> Evaluator:
    """The same model, codec and cloud on the same photographs, scaled down to so many patches a side.

    Positions are resampled as timm does for another input size; weights stay.
    """
    bundle, engine, images = evaluator.bundle, evaluator.engine, evaluator.images
    assert isinstance(images, LabelledImages)
    model: Any = copy.deepcopy(engine.tower.module)
    size = side * model.patch_embed.patch_size[0]
    model.set_input_size(img_size=(size, size))
    how = RESAMPLING[bundle.preprocessing.interpolation]
    pixels = np.stack([np.asarray(Image.fromarray(one).resize((size, size), how)) for one in images.pixels])
    smaller = replace(bundle, patches=side**2, preprocessing=replace(bundle.preprocessing, size=size))
    scaled = TorchEngine(smaller, TimmTower(model), engine.encoder)
    return Evaluator(smaller, scaled, evaluator.judge, replace(images, pixels=pixels))


def has_lone_class_token(evaluator: Evaluator) -> bool:
    """Whether the head reads the class token and patches beside it, and nothing but the head is in the cloud."""
    judge = evaluator.judge
    at_head = evaluator.bundle.split_layer == evaluator.bundle.depth
    return at_head and isinstance(judge, LabelJudge) and judge.classifier.model.global_pool == TOKEN_AND_MEAN


class _PrefixEngine(TorchEngine):
    @property
    def least_tokens(self) -> int:
        return self.bundle.prefix_tokens


class _ClassTokenJudge(LabelJudge):
    """Gives the head a constant for the mean of the patches, which do not arrive."""

    def __init__(self, judge: LabelJudge, images: LabelledImages, constant: torch.Tensor) -> None:
        super().__init__(judge.classifier, images)
        self._constant = constant

    @torch.inference_mode()
    def frames(self, received: Sequence[ReceivedTokens], images: NDArray[np.int64]) -> Verdict:
        model = self.classifier.model
        x, _, packing = decode_frames(self.classifier.decoder, received, self._constant.device)
        first = model.norm(packing.first(x))
        read = torch.cat((first, self._constant.expand_as(first)), dim=-1)
        return self._judge(model.head(model.fc_norm(read)).cpu().numpy(), images)


@torch.inference_mode()
def measure_class_token(
    evaluator: Evaluator, unmerged: Parts, symbols_per_token: int, channel: Channel, seed: int
) -> Measurement:
    """Send the class token alone, where the head reads the mean of the patches beside it.

    The cloud takes for that mean what it is on average over these images, whose labels nobody looks at.

    Args:
        evaluator: of a bundle for which `has_lone_class_token` holds.
        unmerged: the images after the device's blocks, nothing merged.
        symbols_per_token: the rate.
        channel: what frames are sent over.
        seed: of the keyed noise.
    """
    bundle, engine, judge = evaluator.bundle, evaluator.engine, evaluator.judge
    assert isinstance(judge, LabelJudge)
    assert isinstance(evaluator.images, LabelledImages)
    sums = [judge.classifier.model.norm(part.tokens.x).mean(1).sum(0) for _, part in unmerged]
    constant = torch.stack(sums).sum(0) / len(evaluator.images)
    alone = Evaluator(
        bundle,
        _PrefixEngine(bundle, engine.tower, engine.encoder),
        _ClassTokenJudge(judge, evaluator.images, constant),
        evaluator.images,
    )
    parts = [(images, replace(part, tokens=part.tokens.without_patches())) for images, part in unmerged]
    measured = alone.measure(parts, symbols_per_token, channel, seed)
    # Nothing was merged to leave the patches out.
    prefix = bundle.prefix_tokens
    spared = engine.cost.encoding(bundle.patches + prefix) - engine.cost.encoding(prefix)
    return replace(measured, edge_gmacs=np.full(len(measured.right), evaluator.unmerged_gmacs() - spared / 1e9))
