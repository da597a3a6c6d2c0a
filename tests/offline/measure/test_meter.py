"""What the store keeps of a policy, against the evaluator itself."""

import numpy as np
import pytest

from offline.data.images import LabelledImages
from offline.measure.evaluator import Evaluator
from offline.measure.judges import LabelJudge
from offline.measure.meter import PairedLatency, PolicyMeter, sensitive_below
from policies.policy import AccuracyAt, Policy
from tests.parts import make_classifier, make_engine, random_pixels
from thinwire.bundle import Reference
from thinwire.channels import Channel
from thinwire.errors import BundleError, InvalidRequestError

OPTIONS = {"class_token": False, "global_pool": "avg"}
CHANNELS = (Channel("awgn", 10.0), Channel("awgn", 0.0), Channel("rayleigh", 10.0))
POLICY = Policy.create([0.5, 0.4, 1.0], 4)
SEED = 5


def make_evaluator(reference=True):
    engine, classifier = make_engine(**OPTIONS), make_classifier(**OPTIONS)
    labels = np.random.default_rng(0).integers(0, 7, 40)
    images = LabelledImages(tuple(f"i/{i}" for i in range(40)), random_pixels(40), labels, engine.bundle.labels)
    if reference:
        object.__setattr__(engine.bundle, "reference", Reference(2, 50, 0.5, 0.01, 40, 10.0))
    return Evaluator(engine.bundle, engine, LabelJudge(classifier, images), images)


@pytest.fixture(name="evaluator", scope="module")
def evaluator_fixture():
    return make_evaluator()


@pytest.mark.parametrize("limit", [None, 5])
def test_figures_are_those_of_the_evaluator_under_the_policys_own_cap(evaluator, limit):
    policy = Policy.create(POLICY.thresholds, 4, limit)
    meter = PolicyMeter(evaluator, CHANNELS, SEED, snrs_db=(0.0, 5.0))
    for channel, measured in zip(CHANNELS, meter.measure(policy), strict=True):
        cap = measured.objectives.channel_uses_p95
        again = evaluator.measure_policy(policy, channel, SEED, cap)
        assert measured.objectives == again.objectives(evaluator.unmerged(channel, SEED))
        assert again.uses.max() <= cap
        uncapped = evaluator.measure_policy(policy, channel, SEED)
        assert (uncapped.uses <= cap).mean() >= 0.95
        assert (uncapped.uses <= cap - 4).mean() < 0.95
        assert (measured.channel, measured.provenance["seed"]) == (channel, SEED)
        assert measured.provenance["data_digest"] == evaluator.images.digest()


def test_the_change_is_paired_with_the_unmerged_reference(evaluator):
    (measured,) = PolicyMeter(evaluator, CHANNELS[:1], SEED).measure(POLICY)
    figures = measured.objectives
    right = evaluator.measure_policy(POLICY, CHANNELS[0], SEED, figures.channel_uses_p95).right
    unmerged = evaluator.measure_policy(Policy.unmerged(3, 2), CHANNELS[0], SEED).right
    differences = right.astype(int) - unmerged.astype(int)
    assert figures.accuracy_change == pytest.approx(right.mean() - unmerged.mean())
    assert figures.accuracy_change_se == pytest.approx(differences.std() / np.sqrt(40))
    (itself,) = PolicyMeter(evaluator, CHANNELS[:1], SEED).measure(Policy.unmerged(3, 2))
    assert (itself.objectives.accuracy_change, itself.objectives.accuracy_change_se) == (0.0, 0.0)


def test_the_curve_has_the_snrs_asked_for_and_its_own(evaluator):
    measured = PolicyMeter(evaluator, CHANNELS, SEED, snrs_db=(0.0, 5.0)).measure(POLICY)
    assert [point.snr_db for point in measured[0].accuracy_by_snr] == [0.0, 5.0, 10.0]
    assert [point.snr_db for point in measured[1].accuracy_by_snr] == [0.0, 5.0]
    # Two channels of one model share their measurements.
    assert measured[0].accuracy_by_snr[0] == measured[1].accuracy_by_snr[0]
    assert measured[0].accuracy_at(0.0) == measured[1].objectives.accuracy
    assert measured[2].accuracy_by_snr[0] != measured[0].accuracy_by_snr[0]
    assert PolicyMeter(evaluator, CHANNELS[:1], SEED).measure(POLICY)[0].accuracy_by_snr == ()


def test_policies_that_share_thresholds_share_the_blocks(evaluator, monkeypatch):
    meter = PolicyMeter(evaluator, CHANNELS[:1], SEED)
    meter.unmerged()
    transforms = []
    transform = Evaluator.transform
    monkeypatch.setattr(Evaluator, "transform", lambda self, rules: transforms.append(1) or transform(self, rules))
    together = [meter.measure(Policy.create(POLICY.thresholds, rate, limit)) for rate, limit in ((4, None), (2, 3))]
    assert len(transforms) == 1
    assert together[1] == PolicyMeter(evaluator, CHANNELS[:1], SEED).measure(Policy.create(POLICY.thresholds, 2, 3))


def test_relatives_whose_limit_no_image_meets_are_left_out(evaluator):
    meter = PolicyMeter(evaluator, CHANNELS, SEED)
    relatives = [Policy.create(POLICY.thresholds, *given) for given in ((2, None), (4, 25), (4, 3))]
    found = meter.measure_with(POLICY, relatives)
    assert found == [meter.measure(policy) for policy in (POLICY, relatives[0], relatives[2])]
    # The policy itself may have such a limit, and what shares it is told nothing less.
    held = [Policy.create(POLICY.thresholds, rate, 25) for rate in (4, 2)]
    assert [one[0].policy for one in meter.measure_with(held[0], held[1:])] == held


def test_a_bundle_without_a_reference_and_a_policy_of_another_are_refused(evaluator):
    with pytest.raises(BundleError, match="no unmerged reference"):
        PolicyMeter(make_evaluator(reference=False), CHANNELS[:1], SEED).measure(POLICY)
    with pytest.raises(InvalidRequestError, match="expected 3 thresholds"):
        PolicyMeter(evaluator, CHANNELS[:1], SEED).measure(Policy.create([0.5], 4))


def test_latency_is_the_paired_ratio_times_the_reference(evaluator, monkeypatch):
    reference = Policy.unmerged(3, 2)
    latency = PairedLatency(evaluator.engine, evaluator.images.pixels[:10], reference, reference_ms=4.0)
    # A machine that slows down by half in the middle, and a policy that takes three times as long.
    seconds = iter(np.repeat([1.0, 1.5], [11, 10]))
    monkeypatch.setattr(latency, "_time", lambda image, policy: next(seconds) * (3 if policy == POLICY else 1))
    ms, error = latency.measure(POLICY)
    assert ms == pytest.approx(12.0, rel=0.05)
    assert 0 <= error < 1.0


def test_latency_is_an_objective_where_it_is_asked_for(evaluator):
    timed = PairedLatency(evaluator.engine, evaluator.images.pixels[:4], Policy.unmerged(3, 2))
    meter = PolicyMeter(evaluator, CHANNELS[:1], SEED, latency=timed)
    assert meter.measure(POLICY)[0].objectives.latency_ms > 0
    assert meter.unmerged().latency_ms == timed.reference_ms > 0
    assert PolicyMeter(evaluator, CHANNELS[:1], SEED).measure(POLICY)[0].objectives.latency_ms is None


def curve(changes, error=0.003):
    return [AccuracyAt(snr_db, 0.8 + change, 0.01, change, error) for snr_db, change in changes.items()]


@pytest.mark.parametrize(
    ("changes", "below"),
    [
        ({0.0: -0.01, 5.0: -0.01, 10.0: -0.01}, None),
        ({0.0: -0.05, 5.0: -0.01, 10.0: -0.01}, 5.0),
        ({0.0: -0.05, 5.0: -0.04, 10.0: -0.01}, 10.0),
        # Better at low SNR, as a merged frame may be.
        ({0.0: 0.05, 5.0: 0.02, 10.0: -0.01}, None),
        # Worse everywhere, but equally so.
        ({0.0: -0.2, 5.0: -0.2, 10.0: -0.2}, None),
        # A dip in the middle alone is no fall with falling SNR.
        ({0.0: -0.01, 5.0: -0.05, 10.0: -0.01}, None),
        # What happens above its own SNR does not count.
        ({0.0: -0.01, 10.0: -0.01, 20.0: 0.05}, None),
        ({-5.0: -0.3, 0.0: -0.2, 5.0: -0.011, 10.0: -0.01}, 5.0),
    ],
)
def test_what_falls_faster_is_found(changes, below):
    assert sensitive_below(curve(changes), 10.0) == below
    assert sensitive_below(curve(changes)[::-1], 10.0) == below


def test_a_fall_within_the_noise_is_no_fall():
    changes = {0.0: -0.05, 5.0: -0.01, 10.0: -0.01}
    assert sensitive_below(curve(changes, error=0.02), 10.0) is None


def test_a_fall_that_nobody_would_notice_is_no_fall():
    assert sensitive_below(curve({0.0: -0.009, 10.0: 0.0}, error=0.0), 10.0) is None


def test_nothing_is_said_without_a_measurement_at_home():
    assert sensitive_below(curve({0.0: -0.5, 5.0: 0.0}), 10.0) is None
    assert sensitive_below([], 10.0) is None


def test_a_fall_must_exceed_two_standard_errors_of_both_ends():
    changes = {0.0: -0.05, 10.0: 0.0}
    # The error of the difference is sqrt(2) times that of each end: 0.05 is two of them at 0.01768.
    assert sensitive_below(curve(changes, error=0.0176), 10.0) == 10.0
    assert sensitive_below(curve(changes, error=0.0178), 10.0) is None


def test_a_policy_at_home_at_the_lowest_snr_is_not_flagged():
    assert sensitive_below(curve({0.0: -0.1, 5.0: 0.0, 10.0: 0.0}), 0.0) is None
