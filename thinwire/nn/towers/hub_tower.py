"""transformers' vision transformers that classify, as towers: ViT, DeiT, DINOv2, DINOv3, CLIP, SigLIP and SigLIP 2."""

from functools import cached_property
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from thinwire.errors import BundleError
from thinwire.macs import LayerMacs
from thinwire.nn.attention import Attended
from thinwire.nn.macs import count_macs
from thinwire.nn.towers.hub_model import ARCHITECTURES, HubModel
from thinwire.nn.towers.pooling import mean_by_weight, probe_pool
from thinwire.nn.towers.rotary import homogeneous_grid, planes, rotation, turn


class HubTower:
    """All layers of a `HubModel`, and its final norm, pooling and head.

    Attention is written out, as in `thinwire.nn.towers.encoder_tower`.

    Raises:
        BundleError: the images or patches are no squares.
    """

    channels = 3

    def __init__(self, model: HubModel) -> None:
        vision = model.vision
        config = vision.config
        self.module = model
        self.image_size = model.image_size
        self.width: int = config.hidden_size
        self.patches = model.grid_size**2
        self._layers: Any = _first(vision, "layers", "encoder.layers", "encoder.layer", "model.layer")
        self.depth = len(self._layers)
        self._norm: Any = _first(vision, "layernorm", "norm", "post_layernorm")
        self.classes = model.classes
        self._pool = ARCHITECTURES[model.architecture].pool
        self._is_clip = hasattr(vision, "pre_layrnorm")
        self._has_probe = self._pool == "pooled" and hasattr(vision, "head")
        self.prefix_tokens = _prefix_tokens(vision)
        self.reads_patches = "mean" in self._pool or self._has_probe
        self.rotary = hasattr(vision, "rope_embeddings")
        if config.num_channels != self.channels:
            raise BundleError(f"config.num_channels: expected the 3 of RGB, got {config.num_channels}")

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> Self:
        """See `Tower.from_spec`: ``{"tower": "transformers", "architecture": A, "config": {...}, "classes": N}``."""
        if spec.keys() != {"tower", "architecture", "config", "classes"} or not isinstance(spec["config"], dict):
            raise BundleError(f"a transformers tower needs architecture, config and classes, got {', '.join(spec)}")
        return cls(HubModel(spec["architecture"], spec["config"], spec["classes"]))

    def embed(self, images: Tensor) -> Tensor:
        """See `Tower.embed`."""
        vision = self.module.vision
        embedded: Tensor
        if not hasattr(vision.config, "image_size"):
            embedded = vision.embeddings.patch_embedding(self.module.patches(images)) + self._places
            return embedded
        embedded = vision.embeddings(images)
        return vision.pre_layrnorm(embedded) if self._is_clip else embedded

    @property
    def _places(self) -> Tensor:
        # Resampled to the very grid that they are of, which is what the library does, they stay as they are.
        places: Tensor = self.module.vision.embeddings.position_embedding.weight
        return places

    def attend(self, layer: int, x: Tensor, bias: Tensor | None) -> Attended:
        """See `Tower.attend`."""
        return self._attend(layer, x, bias, None)

    @property
    def grid(self) -> Tensor:
        """See `RotaryTower.grid`."""
        return homogeneous_grid(self.module.grid_size, self.module.grid_size)

    @cached_property
    def _plane(self) -> Tensor:
        side = self.module.grid_size
        cosines, sines = self.module.vision.rope_embeddings(self._blank)
        return planes(sines, cosines, side, side)

    def attend_at(self, layer: int, x: Tensor, bias: Tensor | None, centres: Tensor) -> Attended:
        """See `RotaryTower.attend_at`."""
        return self._attend(layer, x, bias, rotation(centres, self._plane))

    def _attend(self, layer: int, x: Tensor, bias: Tensor | None, turned: tuple[Tensor, Tensor] | None) -> Attended:
        block = self._layers[layer]
        attention = _first(block, "attention", "self_attn")
        normed = _first(block, "layernorm_before", "norm1", "layer_norm1")(x)
        query, key, value = (
            projection(normed).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        read = key
        if turned is not None:
            query, read = (turn(part, turned, half=True) for part in (query, key))
        mixed = F.scaled_dot_product_attention(query, read, value, attn_mask=bias, scale=attention.head_dim**-0.5)
        branch = _first(attention, "o_proj", "out_proj")(mixed.transpose(1, 2).flatten(2))
        return Attended(x + _scaled(block, "layer_scale1", branch), key, value)

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        """See `Tower.mlp`."""
        block = self._layers[layer]
        normed = _first(block, "layernorm_after", "norm2", "layer_norm2")(x)
        return x + _scaled(block, "layer_scale2", block.mlp(normed))

    def head(self, x: Tensor, weights: Tensor, valid: Tensor) -> Tensor:
        """See `ClassifyingTower.head`."""
        held, model = self.module, self.module.model
        # CLIP's hidden state is before its last norm, which stands on the pooled feature alone.
        x = x if self._is_clip else self._norm(x)
        first = self.prefix_tokens
        patches = x[:, first:], (weights * valid)[:, first:]
        logits: Tensor
        if self._pool == "two tokens":
            logits = (model.cls_classifier(x[:, 0]) + model.distillation_classifier(x[:, 1])) / 2
        elif self._pool == "token":
            logits = model.classifier(x[:, 0])
        elif self._pool == "mean":
            logits = model.classifier(mean_by_weight(*patches))
        elif self._pool == "token+mean":
            logits = model.classifier(torch.cat((x[:, 0], mean_by_weight(*patches)), dim=1))
        elif self._has_probe:
            logits = held.head(probe_pool(held.vision.head, x, weights, valid))
        else:
            logits = held.head(self._norm(x[:, 0]) if self._is_clip else x[:, 0])
        return logits

    def embedding_macs(self) -> int:
        """See `Tower.embedding_macs`."""
        embeddings = self.module.vision.embeddings
        if not hasattr(self.module.vision.config, "image_size"):
            return count_macs(embeddings.patch_embedding, self.module.patches(self._blank))
        return count_macs(embeddings, self._blank)

    def layer_macs(self, layer: int) -> LayerMacs:
        """See `Tower.layer_macs`."""
        block = self._layers[layer]
        attention = _first(block, "attention", "self_attn")
        width = int(attention.q_proj.out_features)
        return LayerMacs(_linear(attention), _linear(block.mlp), width, int(attention.head_dim))

    @property
    def _blank(self) -> Tensor:
        parameter = next(self.module.parameters())
        return parameter.new_zeros(1, self.channels, self.image_size, self.image_size)


def _prefix_tokens(vision: Any) -> int:
    embeddings = vision.embeddings
    classes = int(hasattr(embeddings, "cls_token") or hasattr(embeddings, "class_embedding"))
    distilled = int(hasattr(embeddings, "distillation_token"))
    return classes + distilled + int(getattr(vision.config, "num_register_tokens", 0))


def _first(module: Any, *paths: str) -> Any:
    """The first of some attributes that is there; the library's classes name one thing in several ways."""
    for path in paths:
        found = module
        for name in path.split("."):
            found = getattr(found, name, None)
        if found is not None:
            return found
    raise BundleError(f"expected {' or '.join(paths)} in transformers' {type(module).__name__}, got neither")


def _scaled(block: Any, name: str, branch: Tensor) -> Tensor:
    scale = getattr(block, name, None)
    return branch if scale is None else scale(branch)


def _linear(module: nn.Module) -> int:
    return sum(one.in_features * one.out_features for one in module.modules() if isinstance(one, nn.Linear))
