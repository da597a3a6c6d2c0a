"""timm's vision transformers as towers: ``VisionTransformer``, its distilled subclass, and ``Eva``."""

from functools import cached_property
from typing import Any, Self

import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from torch import Tensor

from thinwire.macs import LayerMacs
from thinwire.nn.attention import Attended
from thinwire.nn.backbone import POOLS, TOKEN_AND_MEAN, build_backbone
from thinwire.nn.macs import count_macs
from thinwire.nn.towers.pooling import largest, latent_pool, mean_by_weight, refined_pool
from thinwire.nn.towers.rotary import homogeneous_grid, planes, rotation
from thinwire.nn.towers.timm_blocks import attention_half, check_timm_block, half_widths, mlp_half


class TimmTower:
    """All blocks of one of timm's vision transformers, and its final norm, pooling and head.

    Args:
        model: of the classes above; its weights stay its own.

    Raises:
        ValueError: a block is none of timm's own, or rotary positions are none that a merged token can have.
    """

    def __init__(self, model: Any) -> None:
        for block in model.blocks:
            check_timm_block(block)
        self.module = model
        self.image_size: int = int(model.patch_embed.img_size[0])
        self.channels: int = getattr(model, "in_chans", 3)
        self.width: int = model.embed_dim
        self.patches: int = model.patch_embed.num_patches
        self.prefix_tokens: int = model.num_prefix_tokens
        self.depth = len(model.blocks)
        self.classes: int = model.num_classes
        self.reads_patches: bool = model.global_pool != "token"
        self.rotary: bool = getattr(model, "rope", None) is not None

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> Self:
        """See `Tower.from_spec`; the specification is that of `build_backbone`."""
        return cls(build_backbone(spec))

    def embed(self, images: Tensor) -> Tensor:
        """See `Tower.embed`."""
        embedded: Tensor = self.module.norm_pre(self._positioned(images)[0])
        return embedded

    def _positioned(self, images: Tensor) -> tuple[Tensor, Any]:
        embedded = self.module._pos_embed(self.module.patch_embed(images))
        # Eva's gives its rotary table beside the tokens.
        return embedded if isinstance(self.module, Eva) else (embedded, None)

    def attend(self, layer: int, x: Tensor, bias: Tensor | None) -> Attended:
        """See `Tower.attend`."""
        return attention_half(self.module.blocks[layer], x, bias)

    @property
    def grid(self) -> Tensor:
        """See `RotaryTower.grid`."""
        return homogeneous_grid(*self.module.patch_embed.grid_size)

    @cached_property
    def _planes(self) -> Tensor:
        """``3 x A`` or, where each layer has its own, ``layers x heads x 3 x A``."""
        with torch.no_grad():
            _, table = self._positioned(self._blank)
        sines, cosines = table.chunk(2, dim=-1)
        return planes(sines, cosines, *self.module.patch_embed.grid_size).to(self._device)

    def attend_at(self, layer: int, x: Tensor, bias: Tensor | None, centres: Tensor) -> Attended:
        """See `RotaryTower.attend_at`."""
        plane = self._planes if self._planes.ndim == 2 else self._planes[layer]
        return attention_half(self.module.blocks[layer], x, bias, rotation(centres, plane))

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        """See `Tower.mlp`."""
        return mlp_half(self.module.blocks[layer], x)

    def head(self, x: Tensor, weights: Tensor, valid: Tensor) -> Tensor:
        """See `ClassifyingTower.head`."""
        model = self.module
        x = model.norm(x)
        if isinstance(model, VisionTransformerDistilled):
            both: Tensor = (model.head(x[:, 0]) + model.head_dist(x[:, 1])) / 2
            return both
        logits: Tensor = model.head(model.fc_norm(self._pool(x, weights, valid)))
        return logits

    def _pool(self, x: Tensor, weights: Tensor, valid: Tensor) -> Tensor:
        model, pool = self.module, self.module.global_pool
        if pool == "token":
            first: Tensor = x[:, 0]
            return first
        if pool == TOKEN_AND_MEAN:
            patches = (part[:, model.num_prefix_tokens :] for part in (x, weights * valid))
            return torch.cat((x[:, 0], mean_by_weight(*patches)), dim=-1)
        # Eva's attention pooling reads all tokens, and says so nowhere.
        reads_prefix = getattr(model, "pool_include_prefix", pool == "map")
        if not reads_prefix:
            x, weights, valid = (part[:, model.num_prefix_tokens :] for part in (x, weights, valid))
        if pool == "map":
            return latent_pool(model.attn_pool, x, weights, valid)
        if pool == "prr":
            return refined_pool(model.attn_pool, x, weights, valid)
        if pool == "max":
            return largest(x, valid)
        if pool not in ("avg", "avgmax"):
            raise ValueError(f"expected a model that pools by {', '.join(POOLS)}, got {pool!r}")
        mean = mean_by_weight(x, weights * valid)
        return mean if pool == "avg" else 0.5 * (largest(x, valid) + mean)

    def embedding_macs(self) -> int:
        """See `Tower.embedding_macs`."""
        return count_macs(self.module.patch_embed, self._blank)

    def layer_macs(self, layer: int) -> LayerMacs:
        """See `Tower.layer_macs`."""
        return LayerMacs(*half_widths(self.module.blocks[layer]))

    @property
    def _blank(self) -> Tensor:
        parameter = next(self.module.parameters())
        blank: Tensor = parameter.new_zeros(1, self.channels, self.image_size, self.image_size)
        return blank

    @property
    def _device(self) -> torch.device:
        device: torch.device = next(self.module.parameters()).device
        return device
