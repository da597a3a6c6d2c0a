"""Errors of transcripts of digits, counted by hand."""

import numpy as np
import pytest

from offline.measure.transcripts import digit_errors, error_rate, read_digits


@pytest.mark.parametrize(
    ("text", "digits", "others"),
    [
        ("one two three", [1, 2, 3], 0),
        (" One, TWO... three!", [1, 2, 3], 0),
        ("123 and 4-5", [1, 2, 3, 4, 5], 1),
        ("zero oh o", [0, 0], 1),
        ("zero one two three four five six seven eight nine", list(range(10)), 0),
        ("It's ten to five", [5], 3),
        ("it\u2019s", [], 1),
        ("5th", [5], 1),
        ("1,234.5", [1, 2, 3, 4, 5], 0),
        ("one-two", [1, 2], 0),
        ("ones", [], 1),
        ("dr\u00f6lf \u4e94", [], 2),
        ("", [], 0),
        ("... \u266a --", [], 0),
    ],
)
def test_the_digits_of_a_text(text, digits, others):
    assert read_digits(text) == (digits, others)


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("one two three four five six", 0),
        ("123456", 0),
        ("one two three four five", 1),
        ("one two two three four five six", 1),
        ("one two nine four five six", 1),
        ("two three four five six one", 2),
        ("", 6),
        ("one two three for five six", 2),
        ("thank you one two three four five six", 2),
        ("one two three four five six six six six six six six six", 7),
        ("6 5 4 3 2 1", 6),
    ],
)
def test_errors_against_one_to_six(text, errors):
    assert digit_errors((1, 2, 3, 4, 5, 6), text) == errors


def test_the_rate_and_its_standard_error():
    found = error_rate([0, 1, 3, 6, 0], [6] * 5)
    assert found.rate == pytest.approx(1 / 3)
    assert found.se == pytest.approx(np.std(np.array([0, 1, 3, 6, 0]) / 6, ddof=1) / np.sqrt(5))
    assert found.n == 5
    assert error_rate([12], [6]).rate == 2
