"""timm's plain vision transformer as a tower."""

from typing import Any, Self

import torch
from torch import Tensor

from thinwire.macs import LayerMacs, attention_products
from thinwire.nn.attention import Attended, attend, check_block
from thinwire.nn.backbone import VisionTransformer, build_backbone
from thinwire.nn.macs import count_macs


class TimmTower:
    """All blocks of a ``VisionTransformer``; its final norm and its head are not used.

    Raises:
        ValueError: a block is not timm's plain ``Block`` with its plain ``Attention``.
    """

    def __init__(self, model: VisionTransformer) -> None:
        for block in model.blocks:
            check_block(block)
        self.module = model
        self.image_size: int = model.patch_embed.grid_size[0] * model.patch_embed.patch_size[0]
        self.channels: int = model.in_chans
        self.width: int = model.embed_dim
        self.patches: int = model.patch_embed.num_patches
        self.prefix_tokens: int = model.num_prefix_tokens
        self.depth = len(model.blocks)

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> Self:
        """See `Tower.from_spec`; the specification is that of `build_backbone`."""
        return cls(build_backbone(spec))

    def embed(self, images: Tensor) -> Tensor:
        """See `Tower.embed`."""
        model = self.module
        embedded: Tensor = model.norm_pre(model._pos_embed(model.patch_embed(images)))
        return embedded

    def attend(self, layer: int, x: Tensor, bias: Tensor | None) -> Attended:
        """See `Tower.attend`."""
        block = self.module.blocks[layer]
        attended = attend(block.attn, block.norm1(x), bias)
        return attended._replace(output=x + block.ls1(attended.output))

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        """See `Tower.mlp`."""
        block = self.module.blocks[layer]
        output: Tensor = x + block.ls2(block.mlp(block.norm2(x)))
        return output

    def embedding_macs(self) -> int:
        """See `Tower.embedding_macs`."""
        image = torch.zeros(1, self.channels, self.image_size, self.image_size, device=self._device)
        return count_macs(self.module.patch_embed, image)

    def layer_macs(self, layer: int) -> LayerMacs:
        """See `Tower.layer_macs`."""
        block = self.module.blocks[layer]
        token = torch.zeros(1, 1, self.width, device=self._device)
        width = int(block.attn.attn_dim)
        return LayerMacs(
            attention=count_macs(block.attn, token) - attention_products(1, width),
            mlp=count_macs(block.mlp, token),
            attention_width=width,
            head_dim=int(block.attn.head_dim),
        )

    @property
    def _device(self) -> torch.device:
        device: torch.device = next(self.module.parameters()).device
        return device
