"""Errors of transcripts of spoken digits."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WORDS = {
    word: digit
    for digit, word in enumerate(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"))
} | {"oh": 0}
# A numeral, digit by digit, or a word, with its apostrophes.
TOKEN = re.compile(r"[0-9]|[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


@dataclass(frozen=True)
class ErrorRate:
    """Errors of several utterances as a share of their digits.

    Attributes:
        rate: may be above 1.
        se: standard error over utterances.
        n: utterances.
    """

    rate: float
    se: float
    n: int


def read_digits(text: str) -> tuple[list[int], int]:
    """The digits of a transcript, as numerals or words in any case, and how many other words there are."""
    tokens = TOKEN.findall(text.lower())
    digits = [
        int(token) if token.isdecimal() else WORDS[token] for token in tokens if token in WORDS or token.isdecimal()
    ]
    return digits, len(tokens) - len(digits)


def digit_errors(said: Sequence[int], text: str) -> int:
    """Edit distance between the digits that were said and those of a transcript, and each other word an insertion."""
    found, others = read_digits(text)
    row = list(range(len(found) + 1))
    for count, digit in enumerate(said, 1):
        above, row = row, [count]
        for place, other in enumerate(found):
            row.append(min(above[place] + (digit != other), above[place + 1] + 1, row[-1] + 1))
    return row[-1] + others


def error_rate(errors: Sequence[int], digits: Sequence[int]) -> ErrorRate:
    """The rate of several utterances.

    Args:
        errors: of each, as `digit_errors` counts them.
        digits: how many were said in each; at least one.
    """
    rate = sum(errors) / sum(digits)
    # Of a ratio of two sums; where all are of one length, that of the mean.
    residuals = np.array(errors) - rate * np.array(digits)
    n = len(errors)
    se = float(np.sqrt((residuals**2).sum() / max(n - 1, 1) / n) / np.mean(digits))
    return ErrorRate(rate, se, n)
