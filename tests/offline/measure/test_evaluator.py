"""The evaluator against a plain loop over single images."""

import numpy as np
import pytest

from channel.models.registry import get
from channel.realisation import apply, keyed_generator
from channel.transmission import carry
from offline.data.images import LabelledImages
from offline.measure.evaluator import BYPASS, LINK_ID, Evaluator, request_id_of
from offline.measure.judges import LabelJudge
from policies.policy import Policy
from tests.parts import make_classifier, make_engine, random_pixels
from thinwire.channels import Channel
from thinwire.csi import Csi
from thinwire.equalise import receive
from thinwire.errors import InvalidRequestError

POLICY = Policy.create([0.5, 0.4, 1.0], 4)


def make_evaluator(**options):
    engine, classifier = make_engine(**options), make_classifier(**options)
    labels = np.random.default_rng(1).integers(0, 7, 20)
    images = LabelledImages(tuple(f"i/{i}" for i in range(20)), random_pixels(20), labels, engine.bundle.labels)
    return Evaluator(engine.bundle, engine, LabelJudge(classifier, images), images)


@pytest.mark.parametrize("channel", ["awgn", "rayleigh"])
@pytest.mark.parametrize("options", [{}, {"class_token": False, "global_pool": "avg"}], ids=["class token", "average"])
def test_it_is_the_loop_over_single_images(channel, options):
    evaluator = make_evaluator(**options)
    cap = 4 * 9
    measured = evaluator.measure_policy(POLICY, Channel(channel, 3.0), seed=2, max_channel_uses=cap)
    for index, name in enumerate(evaluator.images.names):
        encoded = evaluator.engine.encode(evaluator.images.pixels[index], POLICY, 3.0, cap)
        generator = keyed_generator(2, LINK_ID, request_id_of(name), 0)
        drawn = get(channel).draw(encoded.symbols.shape, 3.0, generator)
        arrived = receive(apply(encoded.symbols, drawn), complex(drawn.gain), float(drawn.noise_variance))
        logits = evaluator.judge.classifier.classify_frames([arrived])[0]
        np.testing.assert_allclose(measured.logits[index], logits, atol=1e-4)
        assert measured.right[index] == (logits.argmax() == evaluator.images.labels[index])
        assert measured.uses[index] == encoded.symbols.size <= cap
        assert (measured.tokens[index], measured.capped[index]) == (len(encoded.symbols), encoded.capped)
        assert measured.edge_gmacs[index] == encoded.edge_gmacs
    assert 0 < measured.capped.mean() < 1


def test_without_a_channel_and_merging_it_is_the_plain_model():
    evaluator = make_evaluator()
    measured = evaluator.measure_policy(Policy.unmerged(3, 4), BYPASS, seed=0)
    np.testing.assert_allclose(
        measured.logits, evaluator.judge.classifier.classify_images(evaluator.images.pixels), atol=1e-5
    )
    assert measured.edge_gmacs[0] == pytest.approx(evaluator.unmerged_gmacs())


def over(evaluator, indices):
    """The same over some of its images."""
    images = evaluator.images.take(indices)
    return Evaluator(evaluator.bundle, evaluator.engine, LabelJudge(evaluator.judge.classifier, images), images)


def test_noise_belongs_to_the_image_and_not_to_its_batch_or_place():
    one = make_evaluator()
    channel = Channel("awgn", 0.0)
    first = one.measure_policy(POLICY, channel, 7)
    backwards = over(one, np.arange(20)[::-1])
    np.testing.assert_allclose(first.logits[::-1], backwards.measure_policy(POLICY, channel, 7).logits, atol=1e-4)
    few = over(one, np.arange(3))
    np.testing.assert_allclose(first.logits[:3], few.measure_policy(POLICY, channel, 7).logits, atol=1e-4)
    assert np.abs(first.logits - one.measure_policy(POLICY, channel, 8).logits).max() > 1e-3


def test_a_policy_of_another_bundle_is_refused():
    with pytest.raises(InvalidRequestError, match="expected 3 thresholds"):
        make_evaluator().measure_policy(Policy.create([0.5], 4), BYPASS, 0)


def test_pilots_and_equaliser_are_those_of_the_link():
    evaluator, csi = make_evaluator(), Csi.parse("pilots:count=2,every=6")
    evaluator.equaliser, channel = "zf", Channel("rayleigh:coherence=4", 3.0, csi)
    measured = evaluator.measure_policy(POLICY, channel, seed=2, max_channel_uses=40)
    for index, name in enumerate(evaluator.images.names):
        encoded = evaluator.engine.encode(evaluator.images.pixels[index], POLICY, 3.0, csi.payload_within(40))
        generator = keyed_generator(2, LINK_ID, request_id_of(name), 0)
        arrival = carry(encoded.symbols, channel, generator)
        arrived = receive(arrival.symbols, arrival.gain, arrival.noise_variance, "zf")
        logits = evaluator.judge.classifier.classify_frames([arrived])[0]
        np.testing.assert_allclose(measured.logits[index], logits, atol=1e-4)
        assert measured.uses[index] == encoded.symbols.size + arrival.pilot_uses <= 40
    assert measured.capped.mean() > 0


def test_the_encoder_may_be_told_another_snr_and_the_receiver_is_not():
    evaluator, channel = make_evaluator(), Channel("awgn", 3.0)
    evaluator.snr_error_db = -6.0
    measured = evaluator.measure_policy(POLICY, channel, seed=2)
    for index, name in enumerate(evaluator.images.names):
        encoded = evaluator.engine.encode(evaluator.images.pixels[index], POLICY, -3.0)
        generator = keyed_generator(2, LINK_ID, request_id_of(name), 0)
        arrival = carry(encoded.symbols, channel, generator)
        arrived = receive(arrival.symbols, arrival.gain, arrival.noise_variance)
        np.testing.assert_allclose(
            measured.logits[index], evaluator.judge.classifier.classify_frames([arrived])[0], atol=1e-4
        )
