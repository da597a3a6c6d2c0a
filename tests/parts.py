"""Tiny parts of the testbed with random weights, for tests that need a whole bundle."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cloud.torch_classifier import TorchClassifier
from edge.torch_engine import TorchEngine
from thinwire.bundle import Bundle, Codec, Merging
from thinwire.images import Preprocessing
from thinwire.nn.backbone import VisionTransformer, build_backbone
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.nn.codec.encoders import MlpEncoder
from thinwire.nn.towers.timm_tower import TimmTower

SIZE = 20
OPTIONS = {"img_size": SIZE, "patch_size": 4, "num_classes": 7, "embed_dim": 24, "depth": 3, "num_heads": 3}


def random_pixels(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """``count x SIZE x SIZE x 3`` smooth random images, so that some of their tokens are alike."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, 4, 4, 3)).astype(np.float64)
    smooth = coarse.repeat(5, axis=1).repeat(5, axis=2)
    return np.clip(smooth + generator.normal(0, 30, smooth.shape), 0, 255).astype(np.uint8)


def make_bundle(split_layer: int = 3, folder: Path = Path(), **options: Any) -> Bundle:
    """A bundle of 25 patches and three blocks; ``options`` are those of the vision transformer."""
    kwargs = OPTIONS | options
    return Bundle(
        name="tiny",
        task="classify",
        model={"kwargs": kwargs},
        split_layer=split_layer,
        depth=kwargs["depth"],
        width=kwargs["embed_dim"],
        patches=25,
        prefix_tokens=int(kwargs.get("class_token", True)),
        labels=tuple("abcdefg"),
        preprocessing=Preprocessing(SIZE, 1.0, "bicubic", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        merging=Merging(),
        codec=Codec(hidden=32, max_symbols_per_token=8, rates=(1, 2, 4, 8), snr_db=(-5.0, 20.0)),
        files={},
        folder=folder,
    )


def make_model(bundle: Bundle, seed: int = 0) -> VisionTransformer:
    """The bundle's backbone with weights that make tokens differ."""
    torch.manual_seed(seed)
    model = build_backbone(bundle.model).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def make_engine(split_layer: int = 3, **options: Any) -> TorchEngine:
    """An engine with random weights."""
    bundle = make_bundle(split_layer, **options)
    model = make_model(bundle)
    return TorchEngine(bundle, TimmTower(model), MlpEncoder(bundle.width, bundle.codec.hidden, 8))


def make_classifier(split_layer: int = 3, **options: Any) -> TorchClassifier:
    """A classifier over the same backbone as `make_engine` gives with the same arguments."""
    bundle = make_bundle(split_layer, **options)
    model = make_model(bundle)
    return TorchClassifier(bundle, model, JsccDecoder(bundle.width, bundle.codec.hidden, 8))
