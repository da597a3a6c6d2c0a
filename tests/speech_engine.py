"""The device's side of a tiny Whisper with random weights, and clips for it."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge.torch_engine import TorchEngine
from tests.ctranslate2 import CONFIG, make_whisper
from tests.parts import make_bundle
from thinwire.bundle import Merging
from thinwire.nn.codec.encoders import MlpEncoder
from thinwire.nn.towers.whisper_tower import WhisperTower

MEL_BINS, POSITIONS, WIDTH = CONFIG["num_mel_bins"], CONFIG["max_source_positions"], CONFIG["d_model"]


def random_features(frames: int = 2 * POSITIONS, seed: int = 0) -> NDArray[np.float32]:
    """``MEL_BINS x frames`` of sounds that last for a while, and then silence."""
    generator = np.random.default_rng(seed)
    held = generator.normal(size=(MEL_BINS, -(-frames // 8))).repeat(8, axis=1)[:, :frames]
    features = held + generator.normal(0, 0.3, held.shape)
    features[:, 2 * frames // 3 :] = -1.5
    return features.astype(np.float32)


def make_speech_engine(merging: Merging, split_layer: int = 3, **changes: Any) -> TorchEngine:
    """An engine of `POSITIONS` positions; ``changes`` are those of `make_whisper`."""
    tower = WhisperTower.around(make_whisper(**changes))
    bundle = replace(
        make_bundle(split_layer), width=WIDTH, patches=tower.patches, prefix_tokens=0, merging=merging, task="vqa"
    )
    torch.manual_seed(1)
    return TorchEngine(bundle, tower, MlpEncoder(WIDTH, bundle.codec.hidden, 8))
