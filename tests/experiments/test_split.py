"""The experiment on where to split, on pictures of noise; its figures come from what is tested elsewhere."""

import json

import numpy as np
import pytest

from experiments import split
from experiments.harness.report import Estimate
from experiments.harness.setting import Setting
from offline.data.images import LabelledImages
from offline.measure.evaluator import Evaluator


def noise(labels: tuple[str, ...] = tuple("abcdefghij")) -> LabelledImages:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (12, 4, 4, 3)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    return LabelledImages(tuple(map(str, range(12))), pixels, generator.integers(0, 10, 12), labels)


@pytest.fixture(name="reports", scope="module")
def reports_fixture(tmp_path_factory):
    """Of a run, and of a second one in the same folder, which measures nothing."""
    folder = tmp_path_factory.mktemp("split")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Setting, "images", lambda setting, bundle, *_: noise(bundle.labels))
        setting = Setting("split", folder, folder)
        first = split.run(setting)
        patch.setattr(Evaluator, "measure", None)
        return first, split.run(setting)


def test_what_was_measured_is_not_measured_again(reports):
    first, second = reports
    assert json.dumps(first.to_json()) == json.dumps(second.to_json())


def test_every_budget_holds_for_either_split(reports):
    for table in reports[0].tables:
        for row in table.rows:
            if row.get("uses") is None:
                continue
            if isinstance(row.get("budget, uses"), int):
                assert 0 < row["uses"] <= row["budget, uses"]
            assert row["edge GMACs"] < 0.12


def test_a_difference_is_paired_with_the_last_layers_split(reports):
    rows = reports[0].tables[1].rows
    for last, middle in zip(rows[::2], rows[1::2], strict=True):
        assert last[split.CHANGE] is None
        change = middle["accuracy, %"].value - last["accuracy, %"].value
        assert middle[split.CHANGE] == Estimate(pytest.approx(change), middle[split.CHANGE].se)


def test_the_split_in_the_middle_asks_less_of_the_device(reports):
    last, middle = reports[0].tables[0].rows
    for column in ("weights on the device, 10^6", "unmerged, edge GMACs", "policies, least edge GMACs"):
        assert middle[column] < last[column]
    assert middle["cloud GMACs"] > last["cloud GMACs"]
