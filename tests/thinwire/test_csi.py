"""What a receiver may know, and what its pilots cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinwire.csi import PERFECT, Csi
from thinwire.errors import InvalidRequestError

pilots = st.builds(
    lambda count, every: Csi.parse(f"pilots:count={count},every={every}"), st.integers(1, 64), st.integers(0, 300)
)


@pytest.mark.parametrize(
    ("text", "csi"),
    [
        ("perfect", PERFECT),
        ("none", Csi("none")),
        ("pilots", Csi("pilots", 1, 0)),
        ("pilots:every=0,count=1", Csi("pilots", 1, 0)),
        ("pilots:every=16,count=4", Csi("pilots:count=4,every=16", 4, 16)),
    ],
)
def test_texts(text: str, csi: Csi) -> None:
    assert Csi.parse(text) == csi
    assert Csi.parse(csi.text) == csi


@pytest.mark.parametrize(
    "text",
    ["", "Perfect", "perfect:count=1", "none:every=2", "pilots:", "pilots:count=0", "pilots:count=65",
     "pilots:count=nan", "pilots:every=-1", "pilots:every=1048577", "pilots:size=2", "pilots:count=2,count=2",
     "x" * 200],
)  # fmt: skip
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="csi"):
        Csi.parse(text)


@pytest.mark.parametrize(
    ("text", "payload", "uses"),
    [
        ("perfect", 100, 0),
        ("none", 100, 0),
        ("pilots:count=3", 100, 3),
        ("pilots:count=3,every=16", 16, 3),
        ("pilots:count=3,every=16", 17, 6),
        ("pilots:count=2,every=1", 5, 10),
    ],
)
def test_pilot_uses(text: str, payload: int, uses: int) -> None:
    assert Csi.parse(text).pilot_uses(payload) == uses


@given(st.one_of(st.just(PERFECT), pilots), st.integers(0, 2000))
def test_the_payload_within_a_budget_is_the_most_that_fits(csi: Csi, uses: int) -> None:
    payload = csi.payload_within(uses)
    assert payload >= 0
    assert payload == 0 or payload + csi.pilot_uses(payload) <= uses
    assert payload + 1 + csi.pilot_uses(payload + 1) > uses
