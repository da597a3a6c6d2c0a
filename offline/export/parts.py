"""What the device runs, but for merging, each part by itself, exported by torch."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from edge.torch_engine import TorchEngine
from offline.export.pieces import Pieces
from thinwire.audio import FRAMES_PER_POSITION
from thinwire.bundle import Merging
from thinwire.images import Preprocessing
from thinwire.nn.attention import key_bias
from thinwire.nn.codec.encoder import JsccEncoder
from thinwire.nn.towers.interface import ImageTower, RotaryTower, SpeechTower, Tower


class Halves(NamedTuple):
    """The values that one layer reads and gives; ``sizes`` is none without proportional attention, ``centres`` without
    rotary positions."""

    entering: str
    sizes: str | None
    between: str
    attended: str
    metric: str
    output: str
    centres: str | None


class Normalise(nn.Module):
    """`thinwire.images.normalise` with one product and one sum per pixel."""

    scale: Tensor
    shift: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        mean, std = (
            torch.tensor(values, dtype=torch.float64)[:, None, None]
            for values in (preprocessing.mean, preprocessing.std)
        )
        self.register_buffer("scale", (1 / (255 * std)).float())
        self.register_buffer("shift", (-mean / std).float())

    def forward(self, pixels: Tensor) -> Tensor:
        """``size x size x 3`` uint8 to ``1 x 3 x size x size``."""
        return self.batch(pixels[None])

    def batch(self, pixels: Tensor) -> Tensor:
        """``images x size x size x 3`` uint8 to ``images x 3 x size x size``."""
        images: Tensor = pixels.permute(0, 3, 1, 2).float() * self.scale + self.shift
        return images


class _OneClip(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features[None]


class _Parts(nn.Module):
    """Everything that the device runs but merging, each part by itself."""

    def __init__(
        self, tower: Tower, layers: int, merging: Merging, preprocessing: Preprocessing, encoder: JsccEncoder
    ) -> None:
        super().__init__()
        self.tower, self.layers, self.merging = tower, layers, merging
        self.held = tower.module
        self.encoder = encoder
        self.prepare = Normalise(preprocessing) if isinstance(tower, ImageTower) else _OneClip()

    def forward(
        self,
        inputs: Tensor,
        entering: list[Tensor],
        between: list[Tensor],
        sizes: list[Tensor],
        centres: list[Tensor],
        sent: Tensor,
        sent_sizes: Tensor,
        snr_db: Tensor,
        symbols_per_token: Tensor,
    ) -> list[Tensor]:
        outputs = [self.tower.embed(self.prepare(inputs)).squeeze(0)]
        for layer in range(self.layers):
            bias = key_bias(None, sizes[layer][None], torch.float32) if sizes else None
            x = entering[layer][None]
            if centres:
                attended = cast(RotaryTower, self.tower).attend_at(layer, x, bias, centres[layer][None])
            else:
                attended = self.tower.attend(layer, x, bias)
            outputs.append(attended.output.squeeze(0))
            heads = attended.values if self.merging.metric.startswith("value") else attended.keys
            metric = heads.mean(1) if self.merging.metric == "key_mean" else heads.transpose(1, 2).flatten(2)
            outputs.append(metric.squeeze(0))
            outputs.append(self.tower.mlp(layer, between[layer][None]).squeeze(0))
        valid = torch.ones(1, sent.shape[0], dtype=torch.bool)
        pairs = self.encoder.pairs(sent[None], sent_sizes[None], valid, snr_db, symbols_per_token)
        outputs.append(pairs.squeeze(0).flatten(1))
        return outputs


def export_parts(engine: TorchEngine) -> tuple[Pieces, list[Halves]]:
    """All parts in one export, and what stands for what in each layer; the first input is the device's."""
    bundle, tower = engine.bundle, engine.tower
    layers, width, count = bundle.split_layer, tower.width, tower.prefix_tokens + bundle.patches
    biased = bundle.merging.proportional_attention
    inputs, varying = _inputs(engine)
    arguments = {
        "inputs": inputs,
        "entering": [torch.randn(count, width) for _ in range(layers)],
        "between": [torch.randn(count, width) for _ in range(layers)],
        "sizes": [torch.ones(count) for _ in range(layers if biased else 0)],
        "centres": [torch.ones(count, 3) for _ in range(layers if is_rotary(tower) else 0)],
        "sent": torch.randn(count, width),
        "sent_sizes": torch.ones(count),
        "snr_db": torch.tensor([10.0]),
        "symbols_per_token": torch.tensor([bundle.codec.max_symbols_per_token]),
    }
    rows: dict[int, Any] = {0: torch.export.Dim.DYNAMIC}
    dynamic = dict.fromkeys(("entering", "between", "sizes", "centres", "sent", "sent_sizes"), rows)
    if is_rotary(tower):
        # The angles are read off the library's own table once, at the first use, which no tracing sees through.
        cast(RotaryTower, tower).attend_at(0, torch.zeros(1, 1, width), None, torch.zeros(1, 1, 3))
    module = _Parts(tower, layers, bundle.merging, bundle.preprocessing, engine.encoder)
    pieces = Pieces(module, arguments, dynamic | {"inputs": varying})
    lists = 1 + 2 * layers + (layers if biased else 0)
    halves = [
        Halves(
            pieces.inputs[1 + layer],
            pieces.inputs[1 + 2 * layers + layer] if biased else None,
            pieces.inputs[1 + layers + layer],
            *cast(tuple[str, str, str], pieces.outputs[1 + 3 * layer : 4 + 3 * layer]),
            pieces.inputs[lists + layer] if is_rotary(tower) else None,
        )
        for layer in range(layers)
    ]
    return pieces, halves


def _inputs(engine: TorchEngine) -> tuple[Tensor, dict[int, Any]]:
    """An example of what the device takes, and which of its dimensions vary."""
    tower = engine.tower
    if isinstance(tower, SpeechTower):
        positions = torch.export.Dim("positions", min=1, max=tower.patches)
        features = torch.zeros(tower.mel_bins, FRAMES_PER_POSITION * tower.patches)
        return features, {1: FRAMES_PER_POSITION * positions}
    size = engine.bundle.preprocessing.size
    return torch.zeros(size, size, cast(ImageTower, tower).channels, dtype=torch.uint8), {}


def is_rotary(tower: Tower) -> bool:
    """Whether attention turns queries and keys by where tokens stand."""
    return isinstance(tower, RotaryTower) and tower.rotary
