"""Tiny vision towers of transformers' classes with random weights, and bundles around them."""

from pathlib import Path
from typing import Any

import torch
from transformers import CLIPVisionConfig, CLIPVisionModel, SiglipVisionConfig, SiglipVisionModel

from edge.torch_engine import TorchEngine
from offline.bundles.vision_tower import cut_tower
from offline.bundles.write import write_weights
from tests.parts import SIZE
from thinwire.bundle import Bundle, Codec, Language, Merging
from thinwire.images import Preprocessing
from thinwire.nn.codec.encoders import MlpEncoder
from thinwire.nn.towers.interface import Tower

CONFIG = {
    "image_size": SIZE,
    "patch_size": 4,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
}
KINDS = {"clip": (CLIPVisionConfig, CLIPVisionModel), "siglip": (SiglipVisionConfig, SiglipVisionModel)}


def make_vision_model(name: str, seed: int = 0, **changes: Any) -> Any:
    """transformers' own model of 25 patches and four layers, with weights that make tokens differ."""
    config, kind = KINDS[name]
    torch.manual_seed(seed)
    model = kind(config(**CONFIG | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return model


def make_pair(name: str, feature_layer: int) -> tuple[Any, Tower]:
    """transformers' own model and the tower cut from it, both in float64."""
    model = make_vision_model(name)
    tower = cut_tower(model, feature_layer).tower
    tower.module.double()
    return model.double(), tower


def make_vqa_bundle(name: str = "clip", prefix_tokens: int = 0, folder: Path | None = None) -> tuple[Bundle, Tower]:
    """A bundle that answers questions, its device at the last feature layer but one, and its tower.

    Args:
        folder: where to write its weights.
    """
    cut = cut_tower(make_vision_model(name), -2)
    files = {}
    if folder is not None:
        encoder = MlpEncoder(24, 32, 8)
        files = write_weights({"backbone": cut.tower.module, "encoder": encoder}, folder)
    bundle = Bundle(
        name="tiny-vqa",
        task="vqa",
        model=cut.spec,
        split_layer=3,
        depth=3,
        width=24,
        patches=25,
        prefix_tokens=prefix_tokens,
        labels=(),
        preprocessing=Preprocessing(SIZE, 1.0, "bicubic", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        merging=Merging(),
        codec=Codec(hidden=32, max_symbols_per_token=8, rates=(1, 2, 4, 8), snr_db=(-5.0, 20.0)),
        files=files,
        language=Language("llava", None, "USER: <image>\n{question} ASSISTANT:"),
        folder=folder or Path(),
    )
    return bundle, cut.tower


def make_vqa_engine(name: str = "clip", prefix_tokens: int = 0) -> TorchEngine:
    """The device's side of `make_vqa_bundle`."""
    bundle, tower = make_vqa_bundle(name, prefix_tokens)
    torch.manual_seed(1)
    return TorchEngine(bundle, tower, MlpEncoder(24, 32, 8))
