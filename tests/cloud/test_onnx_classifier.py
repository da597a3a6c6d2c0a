"""The classifier in ONNX Runtime against the one in torch."""

import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.onnx_classifier import RUN_TOKENS, OnnxClassifier, group_by_length
from cloud.torch_classifier import TorchClassifier
from offline.export.cloud import export_cloud, export_plain
from tests.llava import random_frames
from tests.parts import make_classifier, random_pixels
from thinwire.bundle import Merging
from thinwire.errors import BundleError
from thinwire.exports import CLOUD, PLAIN
from thinwire.onnx_session import OnnxSession

AVERAGE = {"class_token": False, "global_pool": "avg"}
KINDS = {
    "class token": (3, {}, Merging()),
    "class token and mean": (2, {"global_pool": "token+avg"}, Merging(proportional_attention=True)),
    "blocks in the cloud": (1, AVERAGE, Merging()),
    "blocks that count patches": (1, AVERAGE, Merging(proportional_attention=True)),
}


@cache
def classifiers(kind):
    split_layer, options, merging = KINDS[kind]
    plain = make_classifier(split_layer, **options)
    classifier = TorchClassifier(replace(plain.bundle, merging=merging), plain.model, plain.decoder)
    frames, images = (export(classifier).SerializeToString() for export in (export_cloud, export_plain))
    sessions = OnnxSession(classifier.bundle, CLOUD, frames), OnnxSession(classifier.bundle, PLAIN, images)
    return classifier, OnnxClassifier(classifier.bundle, *sessions)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 9])
def test_frames_get_what_torch_gives(kind, count):
    in_torch, in_onnx = classifiers(kind)
    # At least a class token and a patch.
    frames = [frame for frame in random_frames(count + 3, count) if len(frame.symbols) > 1][:count]
    logits = in_onnx.classify_frames(frames)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, in_torch.classify_frames(frames), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_each_frame_gets_what_it_gets_alone(kind):
    _, in_onnx = classifiers(kind)
    frames = [frame for frame in random_frames(12) if len(frame.symbols) > 1]
    together = in_onnx.classify_frames(frames)
    for frame, logits in zip(frames, together, strict=True):
        np.testing.assert_allclose(in_onnx.classify_frames([frame])[0], logits, rtol=1e-4, atol=1e-4)


@given(counts=st.lists(st.integers(1, 200), min_size=1, max_size=40))
def test_groups_hold_every_frame_once_and_pad_no_more_than_a_run_costs(counts):
    groups = group_by_length(counts)
    assert sorted(index for group in groups for index in group) == list(range(len(counts)))
    for group in groups:
        lengths = [counts[index] for index in group]
        assert sum(max(lengths) - length for length in lengths) <= RUN_TOKENS
    # The next longest frame would have been too much for each.
    for group, follows in itertools.pairwise(groups):
        lengths = [*(counts[index] for index in group), max(counts[index] for index in follows)]
        assert sum(max(lengths) - length for length in lengths) > RUN_TOKENS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 5])
def test_images_get_what_torch_gives(kind, count):
    in_torch, in_onnx = classifiers(kind)
    pixels = random_pixels(count)
    np.testing.assert_allclose(in_onnx.classify_images(pixels), in_torch.classify_images(pixels), rtol=1e-4, atol=1e-4)


def test_one_graph_is_not_taken_for_the_other():
    classifier, in_onnx = classifiers("class token")
    with pytest.raises(BundleError, match=r"plain.onnx does not take and give"):
        OnnxClassifier(classifier.bundle, in_onnx._images, in_onnx._images)
