"""Estimates from answers against the textbook's formulas."""

import pytest

from experiments.harness.paired import accuracy, change


def test_a_share_has_the_standard_error_of_a_binomial():
    found = accuracy([1] * 30 + [0] * 10)
    assert (found.value, found.se) == (75, pytest.approx(100 * (0.75 * 0.25 / 40) ** 0.5))


def test_a_change_counts_only_the_images_whose_answer_changed():
    found = change([1, 1, 0, 0] * 25, [1, 0, 1, 0] * 25)
    assert (found.value, found.se) == (0, pytest.approx(100 * (0.5 / 100) ** 0.5))
    assert change([1, 0], [1, 0]).se == 0
