"""Every way to ask, on a few drawn scenes."""

from argparse import Namespace

import pytest

from experiments import visual_questions
from experiments.harness.setting import Setting
from offline.data.drawn import FIRST_UNSEEN, scenes
from offline.measure.evaluator import Evaluator
from thinwire.bundle import load_bundle

SCENES, QUESTIONS = 3, 20


@pytest.fixture(name="rows", scope="module")
def rows_fixture(tmp_path_factory):
    bundle, folder = load_bundle("easy-vqa"), tmp_path_factory.mktemp("vqa")
    setting = Setting("questions", folder, folder, options=Namespace(every_way=True, scenes=SCENES))
    images = scenes(SCENES, FIRST_UNSEEN, 0, bundle.preprocessing, QUESTIONS)
    return visual_questions.measure(setting, "scenes", Evaluator.load(bundle, images))


def test_budgets_hold(rows):
    reference = load_bundle("easy-vqa").reference.channel_uses
    for share in visual_questions.SHARES:
        row = rows[f"policy: within {int(share * reference)} uses"]
        assert 0 < row["uses_max"] <= share * reference
        assert row["uses_per_question"] == pytest.approx(row["uses"] * SCENES / (SCENES * QUESTIONS))


def test_a_merged_frame_costs_less_than_the_full_model_and_an_unmerged_one_more(rows):
    plain, few = rows["further: no channel, nothing merged"], rows["further: 10% of the tokens"]
    assert plain["share_of_full"] == pytest.approx(1)
    assert plain["uses"] == 0
    assert rows["policy: none"]["share_of_full"] > 1
    assert few["share_of_full"] < 1
    assert few["cloud_gmacs"] < plain["cloud_gmacs"] / 2


def test_all_that_was_measured_stands_in_the_table(rows):
    table = visual_questions.in_full("scenes", rows)
    assert [row["sent"] for row in table.rows] == list(rows)
    assert all(row["policy"] and row["edge GMACs"] > 0 for row in table.rows)
