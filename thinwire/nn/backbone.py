"""Vision transformers as timm builds them, from the specification that a bundle carries."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import timm
import torch
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

# Others take timm's classes from here: timm is importable only once this package is.
__all__ = ["Block", "ConvStem", "VisionTransformer", "build_backbone"]


class ConvStem(nn.Module):
    """Patch embedding by 3x3 convolutions (Xiao et al., 2021, "Early convolutions help transformers see better").

    Every second convolution halves the resolution; a 1x1 convolution maps to the width of the transformer. It takes
    the place of timm's ``PatchEmbed`` (same constructor arguments, same output shape).

    Args:
        channels: output channels of the 3x3 convolutions; an even number of them.
        img_size: height and width of the input in pixels, or one number for both.
        in_chans: input channels.
        embed_dim: width D of the tokens.
    """

    def __init__(
        self,
        channels: Sequence[int],
        img_size: int | tuple[int, int] = 32,
        patch_size: int = 4,
        in_chans: int = 3,
        embed_dim: int = 128,
        **_: Any,
    ) -> None:
        super().__init__()
        if 2 ** (len(channels) // 2) != patch_size or len(channels) % 2:
            raise ValueError(
                f"{len(channels)} convolutions give patches of {2 ** (len(channels) // 2)}, not {patch_size}"
            )
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        self.grid_size = (height // patch_size, width // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        self.patch_size = (patch_size, patch_size)
        layers: list[nn.Module] = []
        for index, width_out in enumerate(channels):
            stride = 1 + index % 2
            layers += [
                nn.Conv2d(in_chans, width_out, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(width_out),
                nn.ReLU(inplace=True),
            ]
            in_chans = width_out
        layers.append(nn.Conv2d(in_chans, embed_dim, 1))
        self.layers = nn.Sequential(*layers)

    def feat_ratio(self) -> int:
        """Pixels per token along one side."""
        return self.patch_size[0]

    def forward(self, images: Tensor) -> Tensor:
        """Map ``batch x channels x height x width`` images to ``batch x patches x D`` tokens in raster order."""
        return torch.flatten(self.layers(images), 2).transpose(1, 2)


def build_backbone(spec: dict[str, Any], **overrides: Any) -> VisionTransformer:
    """Build a vision transformer with random weights.

    Args:
        spec: ``{"timm": name, "kwargs": {...}}`` for a model that timm knows by name, or ``{"kwargs": {...}}`` for a
            plain ``VisionTransformer``; ``"stem": [channels, ...]`` puts a `ConvStem` in front.
        overrides: further keyword arguments of the model.

    Raises:
        ValueError: the model that the specification names is no ``VisionTransformer``.
    """
    kwargs = dict(spec.get("kwargs", {})) | overrides
    if "stem" in spec:
        kwargs["embed_layer"] = partial(ConvStem, tuple(spec["stem"]))
    model = timm.create_model(spec["timm"], **kwargs) if "timm" in spec else VisionTransformer(**kwargs)
    if not isinstance(model, VisionTransformer):
        raise ValueError(f"expected a timm VisionTransformer, got {type(model).__name__}")
    return model
