"""Decoder and head: batches of different frames, the split, and pooling."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cloud.torch_classifier import TorchClassifier
from edge.torch_engine import TorchEngine
from tests.parts import make_classifier, make_engine, random_pixels
from thinwire.bundle import Merging
from thinwire.equalise import ReceivedTokens
from thinwire.errors import BundleError
from thinwire.nn.head import classify_tokens
from thinwire.nn.merging.transformer import rules_for


def frames(count=6):
    generator = np.random.default_rng(0)
    received = []
    for index in range(count):
        shape = (int(generator.integers(1, 26)), int(generator.integers(1, 9)))
        symbols = (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)
        received.append(ReceivedTokens(symbols, [0.0, 0.1, 3.0, 1e6][index % 4]))
    return received


@pytest.mark.parametrize("split_layer", [1, 3])
@pytest.mark.parametrize("options", [{}, {"class_token": False, "global_pool": "avg"}], ids=["class token", "average"])
def test_a_batch_of_different_frames_gives_each_what_it_gets_alone(split_layer, options):
    classifier = make_classifier(split_layer, **options)
    received = frames()
    together = classifier.classify_frames(received)
    assert together.shape == (6, 7)
    alone = np.concatenate([classifier.classify_frames([one]) for one in received])
    np.testing.assert_allclose(together, alone, atol=1e-4)
    backwards = classifier.classify_frames(received[::-1])
    np.testing.assert_allclose(together, backwards[::-1], atol=1e-4)
    assert np.abs(np.diff(together, axis=0)).max() > 1e-2


@pytest.mark.parametrize("split_layer", [0, 1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"class_token": False, "global_pool": "avg"}], ids=["class token", "average"])
def test_unmerged_tokens_through_the_cloud_are_the_plain_model_at_every_split(split_layer, options):
    engine, classifier = make_engine(split_layer, **options), make_classifier(split_layer, **options)
    pixels = random_pixels(3)
    tokens = engine.transform(pixels, rules_for([1.0] * split_layer)).tokens
    x = torch.cat((tokens.prefix, tokens.x), dim=1)
    valid = torch.ones(x.shape[:2], dtype=torch.bool)
    with torch.inference_mode():
        logits = classify_tokens(classifier.model, split_layer, x, tokens.all_sizes, valid, True)
    np.testing.assert_allclose(logits.numpy(), classifier.classify_images(pixels), atol=1e-5)


@pytest.mark.parametrize("split_layer", [0, 1, 3])
@pytest.mark.parametrize("options", [{}, {"class_token": False, "global_pool": "avg"}], ids=["class token", "average"])
def test_a_token_weighs_as_much_as_its_patches(split_layer, options):
    model = make_classifier(split_layer, **options).model
    x = torch.randn(1, 3, 24, generator=torch.Generator().manual_seed(0))
    # Shares, as a decoder gives them: only their ratios are known.
    shares = torch.tensor([[1.0, 3.0, 2.0]]) / 6
    with torch.inference_mode():
        merged = classify_tokens(model, split_layer, x, shares, torch.ones(1, 3).bool(), True)
        spread = x[:, [0, 1, 1, 1, 2, 2]]
        whole = classify_tokens(model, split_layer, spread, torch.ones(1, 6), torch.ones(1, 6).bool(), False)
    torch.testing.assert_close(merged, whole)


@pytest.mark.parametrize("proportional", [False, True])
@pytest.mark.parametrize("options", [{}, {"class_token": False, "global_pool": "avg"}], ids=["class token", "average"])
def test_merged_tokens_get_in_the_cloud_what_they_would_get_on_the_device(options, proportional):
    """The device's layers, which `tests/edge/test_torch_engine.py` holds against a slow loop, are the truth."""
    merging = Merging("value", "size", proportional, "attention")
    here, there = (make_engine(split_layer, **options) for split_layer in (3, 1))
    here, there = (TorchEngine(replace(one.bundle, merging=merging), one.tower, one.encoder) for one in (here, there))
    model, pixels = make_classifier(3, **options).model, random_pixels(6)
    found = []
    for engine, thresholds in ((here, [0.5, 1.0, 1.0]), (there, [0.5])):
        tokens = engine.transform(pixels, rules_for(thresholds)).tokens
        assert tokens.counts.min() < 20
        valid = torch.cat((torch.ones(tokens.prefix.shape[:2], dtype=torch.bool), tokens.valid), dim=1)
        x, split_layer = torch.cat((tokens.prefix, tokens.x), dim=1), engine.bundle.split_layer
        with torch.inference_mode():
            found.append(classify_tokens(model, split_layer, x, tokens.all_sizes, valid, proportional))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


def test_another_pooling_is_refused():
    classifier = make_classifier(class_token=False, global_pool="")
    with pytest.raises(ValueError, match=r"pools by token, .*, got ''"):
        classifier.classify_frames(frames(1))


def test_weights_that_the_manifest_does_not_list_are_not_loaded(tiny_bundle):
    unlisted = replace(
        tiny_bundle, files={name: sha for name, sha in tiny_bundle.files.items() if "decoder" not in name}
    )
    with pytest.raises(BundleError, match=r"lists no decoder\.safetensors"):
        TorchClassifier.load(unlisted)
