import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.harness import in_turn as measuring


def test_the_interval_of_a_median_is_that_of_the_tables():
    # Conover (1999), table A3: of ten values the second and the ninth, of twenty the sixth and the fifteenth.
    assert measuring.summary(range(1, 11)) == {"median": 5.5, "low": 2.0, "high": 9.0}
    assert measuring.summary(range(1, 21)) == {"median": 10.5, "low": 6.0, "high": 15.0}


@pytest.mark.parametrize("count", range(1, 6))
def test_of_few_values_it_is_their_range(count):
    found = measuring.summary(range(count))
    assert (found["low"], found["high"]) == (0.0, count - 1.0)


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_it_holds_the_median(values):
    found = measuring.summary(values)
    assert found["low"] <= found["median"] <= found["high"]
    assert found["median"] == pytest.approx(float(np.median(values)))


def test_parts_run_in_turn_and_the_first_round_does_not_count():
    seen = []
    parts = {name: lambda name=name: seen.append(name) or len(seen) for name in ("a", "b")}
    assert measuring.in_turn(parts, 2) == {"a": [3, 5], "b": [4, 6]}
    assert seen == ["a", "b"] * 3


def test_a_file_says_where_its_figures_come_from(tmp_path):
    measuring.write(tmp_path / "x.json", {"results": [1]})
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["results"] == [1]
    assert content["provenance"]["cores"] >= 1
    assert set(content["provenance"]["versions"]) == set(measuring.PACKAGES)
    measuring.write(None, {})
