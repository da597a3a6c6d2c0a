"""transformers' vision encoders with separate query, key and value projections as towers: CLIP's and SigLIP's."""

from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, SiglipVisionConfig, SiglipVisionModel

from thinwire.errors import BundleError
from thinwire.macs import LayerMacs
from thinwire.nn.attention import Attended
from thinwire.nn.macs import count_macs


class EncoderTower:
    """The layers of a vision encoder that lead to one of its hidden states, the others left out.

    Attention is written out here rather than called: merging needs the keys and values and a bias per key, and
    transformers sends its own attention through whatever implementation the configuration names.

    Args:
        config: fields of the model's configuration.
        feature_layer: which of transformers' ``hidden_states`` to give: 0 would be the embedding, -1 what leaves the
            last layer.

    Raises:
        BundleError: the configuration or the feature layer is impossible.
    """

    name: ClassVar[str]
    config_class: ClassVar[Any]
    model_class: ClassVar[Any]
    # Class tokens that run.
    prefix_tokens: int = 0
    # What stands behind the last layer and is not used.
    unused: ClassVar[tuple[str, ...]] = ("post_layernorm",)

    def __init__(self, config: dict[str, Any], feature_layer: int) -> None:
        self._check(config)
        whole = self.config_class(**config)
        depth = depth_of(feature_layer, whole.num_hidden_layers)
        run = self.config_class(**config | {"num_hidden_layers": depth} | self.overrides())
        module = self.model_class(run)
        for part in self.unused:
            delattr(module, part)
        self._run(module, whole, depth)

    @classmethod
    def around(cls, model: nn.Module, feature_layer: int = -1) -> Self:
        """The tower that runs a model's own layers, which stay the model's.

        Args:
            model: one of ``model_class``.
            feature_layer: as for the class.

        Raises:
            BundleError: the feature layer is impossible.
        """
        tower = cls.__new__(cls)
        config: Any = model.config
        tower._run(model, config, depth_of(feature_layer, config.num_hidden_layers))
        return tower

    def _run(self, module: Any, config: Any, depth: int) -> None:
        self.module: nn.Module = module
        self.depth = depth
        self.image_size: int = config.image_size
        self.channels: int = config.num_channels
        self.width: int = config.hidden_size
        self.patches = (config.image_size // config.patch_size) ** 2
        self._layers: Any = module.encoder.layers

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> Self:
        """See `Tower.from_spec`; the specification is ``{"tower": name, "config": {...}, "feature_layer": number}``."""
        unknown = sorted(spec.keys() - {"tower", "config", "feature_layer"})
        if unknown or not isinstance(spec.get("config"), dict) or "feature_layer" not in spec:
            raise BundleError(f"a {cls.name} tower needs tower, config and feature_layer, got {', '.join(spec)}")
        return cls(spec["config"], spec["feature_layer"])

    @classmethod
    def overrides(cls) -> dict[str, Any]:
        """Fields of the configuration that leave out what is not used."""
        return {}

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        """Names of the configuration's own fields, less those of every model of the library."""
        return tuple(cls.config_class.__annotations__)

    @classmethod
    def _check(cls, config: dict[str, Any]) -> None:
        # transformers takes any field that it does not know.
        unknown = sorted(config.keys() - set(cls.fields()))
        if unknown:
            raise BundleError(f"a {cls.name} tower's config has no {', '.join(unknown)}")
        for name in ("image_size", "patch_size", "num_hidden_layers", "num_attention_heads", "hidden_size"):
            value = config.get(name, 1)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise BundleError(f"expected a whole number above 0 as {name} of a {cls.name} tower, got {value!r}")

    def embed(self, images: Tensor) -> Tensor:
        """See `Tower.embed`."""
        embedded: Tensor = self.module.embeddings(images)  # type: ignore[operator]
        return embedded

    def attend(self, layer: int, x: Tensor, bias: Tensor | None) -> Attended:
        """See `Tower.attend`."""
        attention = self._layers[layer].self_attn
        normed = self._layers[layer].layer_norm1(x)
        heads = (attention.num_heads, attention.head_dim)
        query, key, value = (
            projection(normed).unflatten(-1, heads).transpose(1, 2)
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=attention.scale)
        return Attended(x + attention.out_proj(mixed.transpose(1, 2).flatten(2)), key, value)

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        """See `Tower.mlp`."""
        block = self._layers[layer]
        output: Tensor = x + block.mlp(block.layer_norm2(x))
        return output

    def embedding_macs(self) -> int:
        """See `Tower.embedding_macs`."""
        embeddings: Any = self.module.embeddings
        device = embeddings.position_embedding.weight.device
        return count_macs(embeddings, torch.zeros(1, self.channels, self.image_size, self.image_size, device=device))

    def layer_macs(self, layer: int) -> LayerMacs:
        """See `Tower.layer_macs`."""
        block = self._layers[layer]
        attention = block.self_attn
        projections = (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj)
        return LayerMacs(
            attention=sum(projection.weight.numel() for projection in projections),
            mlp=block.mlp.fc1.weight.numel() + block.mlp.fc2.weight.numel(),
            attention_width=attention.num_heads * attention.head_dim,
            head_dim=attention.head_dim,
        )


class ClipTower(EncoderTower):
    """``CLIPVisionModel`` up to a feature layer (Radford et al., 2021), which LLaVA reads.

    It has a class token, and a norm before the first layer.
    """

    name = "clip"
    config_class = CLIPVisionConfig
    model_class = CLIPVisionModel
    prefix_tokens = 1

    def embed(self, images: Tensor) -> Tensor:
        """See `Tower.embed`."""
        embedded: Tensor = self.module.pre_layrnorm(super().embed(images))  # type: ignore[operator]
        return embedded


class SiglipTower(EncoderTower):
    """``SiglipVisionModel`` up to a feature layer (Zhai et al., 2023): no class token, and without its pooling head."""

    name = "siglip"
    config_class = SiglipVisionConfig
    model_class = SiglipVisionModel

    @classmethod
    def overrides(cls) -> dict[str, Any]:
        """See `EncoderTower.overrides`."""
        return {"vision_use_head": False}


def depth_of(feature_layer: object, layers: int) -> int:
    """How many of ``layers`` lead to a hidden state, counted as transformers counts them.

    Raises:
        BundleError: there is no such hidden state, or no layer leads to it.
    """
    if not isinstance(feature_layer, int) or isinstance(feature_layer, bool):
        raise BundleError(f"expected one whole number as feature_layer, got {feature_layer!r}")
    depth = feature_layer if feature_layer >= 0 else layers + 1 + feature_layer
    if not 1 <= depth <= layers:
        raise BundleError(f"expected a feature_layer from 1 to {layers} or from -{layers} to -1, got {feature_layer}")
    return depth
