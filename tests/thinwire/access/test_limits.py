"""Rate and concurrency of a name."""

import pytest

from thinwire.access import Limits
from thinwire.errors import InvalidRequestError, OverloadedError


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def ask(limits, name="alice"):
    with limits.request(name):
        pass


def test_a_rate_lets_a_second_of_requests_come_together_and_then_says_when():
    clock = Clock()
    limits = Limits(rate=2, clock=clock)
    ask(limits)
    ask(limits)
    with pytest.raises(OverloadedError, match="the token of alice may make 2 requests a second") as caught:
        ask(limits)
    assert caught.value.retry_after_s == pytest.approx(0.5)
    clock.now += caught.value.retry_after_s
    ask(limits)
    with pytest.raises(OverloadedError):
        ask(limits)


def test_a_rate_below_one_a_second_allows_one():
    clock = Clock()
    limits = Limits(rate=0.1, clock=clock)
    ask(limits)
    with pytest.raises(OverloadedError) as caught:
        ask(limits)
    assert caught.value.retry_after_s == pytest.approx(10)


def test_names_have_limits_of_their_own():
    limits = Limits(rate=1, concurrency=1, clock=Clock())
    ask(limits)
    ask(limits, "bob")
    with pytest.raises(OverloadedError):
        ask(limits)


def test_concurrency_counts_what_is_under_way_and_refusals_cost_nothing():
    limits = Limits(concurrency=2)
    with limits.request("alice"), limits.request("alice"):
        for _ in range(3):
            with pytest.raises(OverloadedError, match="has 2 requests under way"), limits.request("alice"):
                pass
        with limits.request("bob"):
            pass
    with limits.request("alice"), limits.request("alice"):
        pass


@pytest.mark.parametrize("given", [{"rate": 0}, {"rate": -1.0}, {"rate": float("nan")}, {"concurrency": 0}])
def test_a_limit_that_lets_nothing_through_is_refused(given):
    with pytest.raises(InvalidRequestError):
        Limits(**given)
