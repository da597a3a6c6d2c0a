"""Weights and the manifest that describes them: what does not fit is an error of the bundle."""

from dataclasses import replace

import pytest

from cloud.torch_classifier import TorchClassifier
from edge.torch_engine.engine import TorchEngine
from thinwire.errors import BundleError

CHANGES = {
    "another width": lambda bundle: {"width": 32},
    "another depth": lambda bundle: {"depth": 4},
    "fewer labels": lambda bundle: {"labels": bundle.labels[:-1]},
    "a class token": lambda bundle: {"prefix_tokens": 1},
    "another size": lambda bundle: {"preprocessing": replace(bundle.preprocessing, size=24)},
    "another model": lambda bundle: {"model": {"kwargs": bundle.model["kwargs"] | {"embed_dim": 32, "num_heads": 4}}},
    "no model": lambda bundle: {"model": {"timm": "nonsense"}},
    "an argument that there is not": lambda bundle: {"model": {"kwargs": {"nonsense": 1}}},
    "another codec": lambda bundle: {"codec": replace(bundle.codec, hidden=8)},
    "an impossible codec": lambda bundle: {"codec": replace(bundle.codec, hidden=-1)},
    "no files": lambda bundle: {"files": {}},
}


@pytest.mark.parametrize("load", [TorchEngine.load, TorchClassifier.load])
@pytest.mark.parametrize("name", CHANGES)
def test_a_manifest_that_the_weights_do_not_fit(tiny_bundle, load, name):
    with pytest.raises(BundleError) as raised:
        load(replace(tiny_bundle, **CHANGES[name](tiny_bundle)))
    assert "\n" not in str(raised.value)
    load(tiny_bundle)
