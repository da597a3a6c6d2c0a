"""Features of images, and what is quantised of them."""

import math

import numpy as np
import pytest

from experiments.digital.features import Feature, Latents, Logits, RawTokens, SharedImages
from experiments.digital.quantised import QuantisedSource
from experiments.digital.source import LabelSource
from policies.policy import Policy
from tests.experiments.digital.parts import never_kept, random_images
from thinwire.nn.merging.transformer import rules_for

POLICY = Policy.create([0.5, 0.4, 1.0], 4, 5)


@pytest.fixture(name="images", scope="module")
def images_fixture() -> SharedImages:
    return random_images(24)


def test_features_as_they_are_get_the_answers_of_the_analog_path(images: SharedImages) -> None:
    unmerged = Policy.unmerged(3, 4)
    judge, everyone = images.evaluator.judge, np.arange(len(images))
    for policy in (unmerged, Policy.create([0.5, 0.4, 1.0], 4)):
        expected = np.empty(len(images), dtype=np.int64)
        for indices, part in images.evaluator.transform(rules_for(policy.thresholds)):
            expected[indices] = judge.tokens(part.tokens, everyone[indices]).logits.argmax(axis=1)
        raw = RawTokens(policy, "raw")
        np.testing.assert_array_equal(raw.answers(images, raw.vectors(images, 8), 0.0), expected)
    np.testing.assert_array_equal(
        Logits().answers(images, Logits().vectors(images, 8), 0.0), images.logits.argmax(axis=1)
    )
    latents = Latents(POLICY, 2, "latents")
    frames = images.evaluator.engine.transmit(
        images.evaluator.engine.transform(images.pixels, rules_for(POLICY.thresholds)), 2, 20.0, None, 5
    )
    for mine, frame in zip(latents.vectors(images, 8), frames, strict=True):
        assert mine.shape == (len(frame.symbols), 4)
        np.testing.assert_allclose(mine.view(np.complex64), frame.symbols, atol=1e-4)


@pytest.mark.parametrize("feature", [Latents(POLICY, 2, "latents"), RawTokens(POLICY, "raw"), Logits()])
def test_what_is_encoded_is_decoded_to_the_same_answers(images: SharedImages, feature: Feature) -> None:
    test = random_images(20, seed=1)
    source = QuantisedSource("source", [feature], images, test, 0, never_kept, 10_000)
    payload = next(bits for bits in range(2, 9000) if source.encode(bits).sent.mean() > 0.5)
    coded = source.encode(payload)
    assert coded.bits.shape == (20, payload)
    np.testing.assert_array_equal(source.answers(payload, coded.bits[coded.sent]), coded.answers[coded.sent])
    # Any other bits have some answer, too.
    noise = np.random.default_rng(0).integers(0, 2, (3, payload), dtype=np.uint8)
    assert ((source.answers(payload, noise) >= 0) & (source.answers(payload, noise) < 7)).all()


def test_more_bits_are_spent_where_they_help(images: SharedImages) -> None:
    source = QuantisedSource("tokens", [Latents(POLICY, rate, f"S = {rate}") for rate in (1, 4)], images, images, 0,
                             never_kept, 10_000)  # fmt: skip
    scores = [source.score(bits) for bits in (0, 30, 60, 120, 4000)]
    assert scores == sorted(scores)
    assert scores[0] == pytest.approx((images.labels == 0).mean())
    measured = (source.encode(4000).answers == images.labels).mean()
    assert scores[-1] == pytest.approx(measured)


def test_a_guess_stands_in_for_what_does_not_fit(images: SharedImages) -> None:
    source = QuantisedSource("logits", [Logits()], images, images, 3, never_kept, 10_000)
    assert not source.encode(2).sent.any()
    assert source.score(2) == pytest.approx((images.labels == 3).mean())
    assert "logits" in source.option(100)


def test_what_is_far_too_long_is_not_tried(images: SharedImages) -> None:
    calls = {}

    def kept(key, compute):
        calls[key] = compute()
        return calls[key]

    QuantisedSource("logits", [Logits()], images, images, 0, kept, 10)
    assert list(calls["logits, logits: select"]) == [2, 1]
    assert math.isfinite(max(calls["logits, logits: select"][1]["lengths"]))


def test_the_label_takes_its_bits(images: SharedImages) -> None:
    source = LabelSource(images, images)
    assert source.bits == 3
    coded = source.encode(3)
    np.testing.assert_array_equal(source.answers(3, coded.bits), coded.answers)
    assert (coded.answers == images.labels).mean() == pytest.approx(source.score(3)) == pytest.approx(0.75)
    assert source.score(2) == 0
