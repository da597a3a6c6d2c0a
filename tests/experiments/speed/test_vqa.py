"""The table of questions, on a few drawn scenes."""

import json

import pytest

from experiments.speed.vqa import main
from thinwire.bundle import load_bundle


@pytest.fixture(name="result", scope="module")
def result_fixture(tmp_path_factory):
    path = tmp_path_factory.mktemp("vqa") / "vqa.json"
    main(["--drawn", "3", "--json", str(path)])
    return json.loads(path.read_text())


def test_budgets_hold(result):
    reference = load_bundle("easy-vqa").reference.channel_uses
    for share in (0.5, 0.2, 0.1, 0.05):
        (row,) = (row for row in result["rows"] if row["asked"].startswith(f"{share:.0%}: "))
        assert 0 < row["uses_max"] <= share * reference
        assert row["uses_per_question"] == pytest.approx(row["uses_per_frame"] * 3 / 60)


def test_a_merged_frame_costs_less_than_the_full_model_and_an_unmerged_one_more(result):
    rows = {row["asked"]: row for row in result["rows"]}
    plain = rows["no channel, nothing merged"]
    assert plain["share_of_full"] == pytest.approx(1)
    assert plain["edge_gmacs"] == pytest.approx(result["tower_gmacs"])
    assert rows["unmerged reference"]["share_of_full"] > 1
    assert rows["10% of the tokens"]["share_of_full"] < 1
    assert rows["10% of the tokens"]["cloud_gmacs"] < plain["cloud_gmacs"] / 2
