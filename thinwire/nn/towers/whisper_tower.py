"""The encoder of Whisper (Radford et al., 2022) as a tower: transformers' ``WhisperEncoder``, of any size."""

from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from thinwire.audio import FRAMES_PER_POSITION
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.macs import LayerMacs
from thinwire.nn.attention import Attended
from thinwire.nn.macs import count_macs

SIZES = (
    "num_mel_bins",
    "d_model",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "max_source_positions",
)


class WhisperTower:
    """All layers of the encoder, the last of them with the final norm, behind which the decoder reads.

    Attention is written out, as in `thinwire.nn.towers.encoder_tower`. A clip of fewer frames than the encoder has
    positions for is embedded as it is, with the first of the positions; transformers refuses that.
    """

    prefix_tokens = 0
    frames_per_token = FRAMES_PER_POSITION

    def __init__(self, encoder: WhisperEncoder) -> None:
        config: Any = encoder.config
        self.module: nn.Module = encoder
        self.mel_bins: int = config.num_mel_bins
        self.width: int = config.d_model
        self.patches: int = config.max_source_positions
        self._parts: Any = encoder
        self.depth = len(self._parts.layers)

    @classmethod
    def around(cls, model: nn.Module) -> Self:
        """The tower that runs a model's own encoder.

        Args:
            model: ``WhisperEncoder``, or ``WhisperModel`` or ``WhisperForConditionalGeneration`` around one.
        """
        outer: Any = model
        return cls(getattr(getattr(outer, "model", outer), "encoder", outer))

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> Self:
        """See `Tower.from_spec`; the specification is ``{"tower": "whisper", "config": {...}}``.

        The config has the fields of transformers' ``WhisperConfig`` that are in `SIZES`, and may name the
        ``activation_function``.
        """
        config = spec.get("config")
        if spec.keys() != {"tower", "config"} or not isinstance(config, dict):
            raise BundleError(f"a whisper tower needs tower and config, got {', '.join(spec)}")
        # transformers takes any field that it does not know.
        if unknown := sorted(config.keys() - {*SIZES, "activation_function"}):
            raise BundleError(f"a whisper tower's config has no {', '.join(unknown)}")
        for name in SIZES:
            value = config.get(name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise BundleError(f"expected a whole number above 0 as {name} of a whisper tower, got {value!r}")
        return cls(WhisperEncoder(WhisperConfig(**config)).eval())

    def embed(self, features: Tensor) -> Tensor:
        """See `Tower.embed`.

        Args:
            features: ``batch x mel_bins x frames`` log-mel features, frames an even number up to twice the positions.

        Raises:
            InvalidRequestError: they are not.
        """
        frames, most = features.shape[-1], self.frames_per_token * self.patches
        if features.ndim != 3 or features.shape[1] != self.mel_bins or frames % 2 or not 0 < frames <= most:
            raise InvalidRequestError(
                f"expected features of batch x {self.mel_bins} x an even number of frames up to {most}, "
                f"got {tuple(features.shape)}"
            )
        x: Tensor = F.gelu(self._parts.conv2(F.gelu(self._parts.conv1(features)))).transpose(1, 2)
        return x + self.positions[: x.shape[1]]

    @property
    def positions(self) -> Tensor:
        """See `SpeechTower`."""
        table: Tensor = self._parts.embed_positions.weight
        return table

    def attend(self, layer: int, x: Tensor, bias: Tensor | None) -> Attended:
        """See `Tower.attend`."""
        block = self._parts.layers[layer]
        attention = block.self_attn
        normed = block.self_attn_layer_norm(x)
        # The query is scaled before the products, as the library does it: rounding is then the same.
        projected = (attention.q_proj(normed) * attention.scaling, attention.k_proj(normed), attention.v_proj(normed))
        heads = (attention.num_heads, attention.head_dim)
        query, key, value = (part.unflatten(-1, heads).transpose(1, 2) for part in projected)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
        return Attended(x + attention.out_proj(mixed.transpose(1, 2).flatten(2)), key, value)

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        """See `Tower.mlp`."""
        block = self._parts.layers[layer]
        output: Tensor = x + block.fc2(block.activation_fn(block.fc1(block.final_layer_norm(x))))
        if layer == self.depth - 1:
            output = self._parts.layer_norm(output)
        return output

    def embedding_macs(self, positions: int | None = None) -> int:
        """See `SpeechTower.embedding_macs`."""
        frames = self.frames_per_token * (self.patches if positions is None else positions)
        blank = torch.zeros(1, self.mel_bins, frames).to(self._parts.conv1.weight)
        return count_macs(nn.Sequential(self._parts.conv1, self._parts.conv2), blank)

    def layer_macs(self, layer: int) -> LayerMacs:
        """See `Tower.layer_macs`."""
        block = self._parts.layers[layer]
        attention = block.self_attn
        projections = (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj)
        return LayerMacs(
            attention=sum(projection.weight.numel() for projection in projections),
            mlp=block.fc1.weight.numel() + block.fc2.weight.numel(),
            attention_width=attention.num_heads * attention.head_dim,
            head_dim=attention.head_dim,
        )
