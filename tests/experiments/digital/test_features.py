"""What is quantised of an image whose head reads a class token beside the patches."""

import numpy as np
import pytest

from experiments.digital.features import Latents, RawTokens, SharedImages
from offline.data.images import LabelledImages
from offline.measure.evaluator import BYPASS, Evaluator
from offline.measure.judges import LabelJudge
from policies.policy import Policy
from tests.parts import make_classifier, make_engine, random_pixels
from thinwire.nn.merging.transformer import rules_for


@pytest.fixture(name="images", scope="module")
def images_fixture():
    options = {"global_pool": "token+avg"}
    engine, classifier = make_engine(**options), make_classifier(**options)
    names = tuple(f"i/{number}" for number in range(12))
    images = LabelledImages(names, random_pixels(12), np.arange(12) % 7, engine.bundle.labels)
    return SharedImages(Evaluator(engine.bundle, engine, LabelJudge(classifier, images), images))


def test_raw_tokens_say_to_the_cloud_what_the_tokens_say(images):
    policy = Policy.create([0.8, 0.7, 1.0], 2)
    feature = RawTokens(policy, "p")
    vectors = feature.vectors(images, 4)
    measured = images.evaluator.measure(images.evaluator.transform(rules_for(policy.thresholds)), 2, BYPASS, 0)
    assert [len(one) for one in vectors] == measured.tokens.tolist()
    np.testing.assert_array_equal(feature.answers(images, vectors, 0.0), measured.logits.argmax(1))


def test_a_limit_counts_the_class_token(images):
    policy = Policy.create([1.0] * 3, 2, 3)
    assert {len(one) for one in RawTokens(policy, "p").vectors(images, 4)} == {3}
    assert {len(one) for one in Latents(policy, 2, "p").vectors(images, 4)} == {3}
