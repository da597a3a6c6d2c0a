"""A policy that needs a better channel than the unmerged model is told from one that is unlucky."""

import pytest

from policies.record import AccuracyAt, sensitive_below


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
