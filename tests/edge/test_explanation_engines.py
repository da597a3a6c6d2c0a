"""What is explained of the frames that each engine makes."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge.explanation import explain
from edge.onnx_engine import OnnxEngine
from edge.torch_engine import TorchEngine
from policies.policy import Policy
from thinwire.bundle import load_bundle


@pytest.mark.parametrize("kind", [OnnxEngine, TorchEngine])
@pytest.mark.parametrize("cap", [None, 24])
def test_there_are_as_many_groups_as_patch_tokens_sent(kind: Any, cap: int | None) -> None:
    bundle = load_bundle("cifar10")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    encoded = kind.load(bundle).encode(pixels, Policy.create((0.7,) * bundle.split_layer, 3), 10.0, cap)
    answer: Any = SimpleNamespace(encoded=encoded, area=(0, 0, 32, 32), received=None, snr_db=None)
    found = explain(bundle, answer)
    tokens = len(encoded.symbols) - bundle.prefix_tokens
    assert len(found.groups) == bundle.patches == sum(found.sizes)
    assert set(found.groups) == set(range(tokens))
    assert found.sizes == np.bincount(found.groups).tolist()
    assert len(found.tokens_per_layer) == bundle.split_layer
    assert len(found.sent) == encoded.symbols.size
