"""Vision transformers as timm builds them, from the specification that a bundle carries."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import timm
import torch
from timm.layers import PatchEmbed
from timm.models import group_parameters
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from timm.models.resnet import BasicBlock
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

# Others take timm's classes from here: timm is importable only once this package is.
__all__ = [
    "TOKEN_AND_MEAN",
    "Block",
    "ConvStem",
    "TokenAndMean",
    "VisionTransformer",
    "build_backbone",
    "check_classifier",
    "group_parameters",
]

TOKEN_AND_MEAN = "token+avg"


class TokenAndMean(VisionTransformer):  # type: ignore[misc]
    """A vision transformer whose head reads the class token and, beside it, the mean of the patches.

    That is how DINOv2's own linear classifier reads its features (Oquab et al., 2023, "DINOv2", appendix B.3).
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs | {"global_pool": "token"})
        self.global_pool = TOKEN_AND_MEAN
        self.head = nn.Linear(2 * self.embed_dim, self.num_classes)

    def pool(self, x: Tensor, pool_type: str | None = None) -> Tensor:
        """Map ``batch x tokens x D`` normed tokens to ``batch x 2 D``."""
        return torch.cat((x[:, 0], x[:, self.num_prefix_tokens :].mean(1)), dim=-1)


# All whose forward pass is embedding, blocks, final norm, pooling and head, and no more.
KINDS = (VisionTransformer, TokenAndMean, VisionTransformerDistilled, Eva)
POOLS = ("token", "avg", "max", "avgmax", "map", "prr", TOKEN_AND_MEAN)
# What would read the hub or a file, and with it weights that the bundle does not hold, wherever the model is built.
ELSEWHERE = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")


class ConvStem(nn.Module):
    """Patch embedding by residual convolutions: a small ResNet in front of the transformer.

    A convolutional stem makes a small transformer learn faster than patches cut out at once (Xiao et al., 2021, "Early
    convolutions help transformers see better"), all the more with residual blocks (He et al., 2016). One 3x3
    convolution, then the stages, each of which but the first halves the resolution; a 1x1 convolution maps to the
    width of the transformer. It takes the place of timm's ``PatchEmbed`` (same constructor arguments, same output
    shape).

    Args:
        stages: output channels and number of residual blocks of each stage.
        img_size: height and width of the input in pixels, or one number for both.
        in_chans: input channels.
        embed_dim: width D of the tokens.

    Raises:
        ValueError: the stages do not make patches of ``patch_size``.
    """

    def __init__(
        self,
        stages: Sequence[tuple[int, int]],
        img_size: int | tuple[int, int] = 32,
        patch_size: int = 4,
        in_chans: int = 3,
        embed_dim: int = 128,
        **_: Any,
    ) -> None:
        super().__init__()
        if 2 ** (len(stages) - 1) != patch_size or any(blocks < 1 for _, blocks in stages[1:]):
            raise ValueError(
                f"expected the stages of patches of {patch_size}, each with a block (all but the first halve the "
                f"resolution), got {list(stages)}"
            )
        self.patch_size = (patch_size, patch_size)
        self.set_input_size(img_size)
        channels = stages[0][0]
        layers: list[nn.Module] = [
            nn.Conv2d(in_chans, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        ]
        for stage, (width_out, blocks) in enumerate(stages):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(_residual_block(channels, width_out, stride))
                channels = width_out
        layers.append(nn.Conv2d(channels, embed_dim, 1))
        self.layers = nn.Sequential(*layers)

    def set_input_size(self, img_size: int | tuple[int, int], patch_size: None = None) -> None:
        """Take images of another size, as timm's ``PatchEmbed`` does; its patches stay what they are."""
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.img_size = (height, width)
        self.grid_size = (height // self.patch_size[0], width // self.patch_size[1])
        self.num_patches = self.grid_size[0] * self.grid_size[1]

    def feat_ratio(self) -> int:
        """Pixels per token along one side."""
        return self.patch_size[0]

    def forward(self, images: Tensor) -> Tensor:
        """Map ``batch x channels x height x width`` images to ``batch x patches x D`` tokens in raster order."""
        return torch.flatten(self.layers(images), 2).transpose(1, 2)


def _residual_block(channels_in: int, channels_out: int, stride: int) -> BasicBlock:
    shortcut = None
    if stride > 1 or channels_in != channels_out:
        shortcut = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 1, stride=stride, bias=False), nn.BatchNorm2d(channels_out)
        )
    return BasicBlock(channels_in, channels_out, stride=stride, downsample=shortcut)


def build_backbone(spec: dict[str, Any], **overrides: Any) -> Any:
    """Build one of timm's vision transformers, of the classes in `KINDS`, with random weights.

    Args:
        spec: ``{"timm": name, "kwargs": {...}}`` for a model that timm knows by name, or ``{"kwargs": {...}}`` for a
            plain ``VisionTransformer`` (a `TokenAndMean` if its ``global_pool`` says so);
            ``"stem": [[channels, blocks], ...]`` puts a `ConvStem` in front.
        overrides: further keyword arguments of the model.

    Raises:
        ValueError: timm cannot build it, or it is no vision transformer, or its weights are elsewhere.
    """
    kwargs = dict(spec.get("kwargs", {})) | overrides
    if elsewhere := [name for name in ELSEWHERE if kwargs.get(name)]:
        raise ValueError(f"model.kwargs: expected what shapes the model alone, got {', '.join(elsewhere)}")
    if "stem" in spec:
        kwargs["embed_layer"] = partial(ConvStem, spec["stem"])
    if "timm" in spec and not timm.is_model(spec["timm"]):
        raise ValueError(f"model.timm: expected a name of timm.list_models(), got {spec['timm']!r}")
    try:
        if "timm" in spec:
            model = timm.create_model(spec["timm"], **kwargs)
        else:
            model = (TokenAndMean if kwargs.get("global_pool") == TOKEN_AND_MEAN else VisionTransformer)(**kwargs)
    # Whatever timm and torch raise on arguments that they cannot take, often without a word of which it is.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300].rstrip(": ")
        raise ValueError(f"model.kwargs: timm cannot build it: {reason}") from error
    if type(model) not in KINDS:
        theirs = " or ".join(kind.__name__ for kind in KINDS if kind is not TokenAndMean)
        raise ValueError(f"expected a timm {theirs}, got {type(model).__name__}")
    return model


def check_classifier(model: Any) -> None:
    """Check that a model classifies as device and cloud do together, and that images of ours are what it takes.

    Raises:
        ValueError: it does not; names the field, what it has and what it should have.
    """
    # A subclass computes something else, or it would be none.
    if type(model) not in KINDS:
        raise ValueError(f"model: expected timm's VisionTransformer itself, got {type(model).__name__}")
    embedding = model.patch_embed
    size, patch = tuple(embedding.img_size or ()), tuple(embedding.patch_size)
    if len(set(size)) != 1:
        raise ValueError(f"model.img_size: expected a square, got {' x '.join(map(str, size)) or None}")
    if len(set(patch)) != 1:
        raise ValueError(f"model.patch_size: expected a square, got {' x '.join(map(str, patch))}")
    # Those of a hybrid are cut out of what a network makes of the image.
    if isinstance(embedding, PatchEmbed | ConvStem) and size[0] % patch[0]:
        raise ValueError(f"model.img_size: expected a multiple of the patch size {patch[0]}, got {size[0]}")
    if getattr(model, "in_chans", 3) != 3:
        raise ValueError(f"model.in_chans: expected the 3 of RGB, got {model.in_chans}")
    if model.global_pool not in POOLS:
        raise ValueError(
            f"model.global_pool: expected {', '.join(map(repr, POOLS[:-1]))} or {POOLS[-1]!r}, "
            f"got {model.global_pool!r}"
        )
    if model.num_classes < 1:
        raise ValueError(f"model.num_classes: expected a class at least, got {model.num_classes}")
