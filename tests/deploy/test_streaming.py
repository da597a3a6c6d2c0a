"""What a stream comes to."""

import numpy as np
import pytest

from deploy.pictures import Picture
from deploy.streaming import Tally
from tests.answers import answer_of
from thinwire.client import Answered
from thinwire.errors import FrameLostError


def answered(number, began_s, ended_s, policy="p", uses=10):
    answer = answer_of(policy, uses) if policy else answer_of(None, None)
    return Answered(number, Picture("", "image/png", b""), answer, began_s, ended_s)


def test_a_tally_is_what_the_answers_say():
    tally = Tally()
    assert tally.figures() is None
    times = [(0.0, 1.0, "a"), (0.5, 3.0, "a"), (1.0, 2.0, "b"), (2.0, 4.0, "a")]
    for number, (began_s, ended_s, policy) in enumerate(times):
        tally.add(answered(number, 100 + began_s, 100 + ended_s, policy, 10 + number))
    tally.add(Answered(4, Picture("", "image/png", b""), FrameLostError("gone"), 100.0, 200.0))
    figures = tally.figures()
    each = [1000.0, 2500.0, 1000.0, 2000.0]
    assert figures == {
        "frames": 4,
        "lost": 1,
        "frames_per_second": 1.0,
        "channel_uses_mean": 11.5,
        "channel_uses_per_second": 11.5,
        "median_ms": pytest.approx(np.median(each)),
        "p95_ms": pytest.approx(np.quantile(each, 0.95)),
        "policy_switches": 2,
    }


def test_a_tally_of_the_plain_model_has_no_uses():
    tally = Tally()
    for number in range(2):
        tally.add(answered(number, number, number + 1.0, policy=None))
    figures = tally.figures()
    assert (figures["channel_uses_mean"], figures["policy_switches"], figures["frames_per_second"]) == (0, 0, 1)
