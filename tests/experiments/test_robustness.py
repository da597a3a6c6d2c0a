"""The table of what goes wrong, on a few images of noise: every condition once, and the policy that is chosen there."""

import pytest

from experiments import robustness
from experiments.harness.report import Estimate
from experiments.harness.setting import Setting
from offline.measure.evaluator import Evaluator
from policies.policy import Policy
from tests.experiments.tiny_data import write_cifar10
from thinwire.channels import Channel
from thinwire.csi import Csi


@pytest.fixture(name="setting", scope="module")
def setting_fixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("robustness")
    return Setting("robustness", write_cifar10(folder, 0, 1), folder, quick=True)


def test_every_condition_has_its_rows_and_a_cut_off_run_measures_nothing_again(setting, monkeypatch):
    report = robustness.run(setting)
    assert [len(table.rows) for table in report.tables] == [3 * len(of) for of in robustness.CONDITIONS.values()]
    for table in report.tables:
        for row in table.rows:
            assert row["uses, 0 dB"] <= row["budget"]
            assert isinstance(row["accuracy, %, 10 dB"], Estimate)
    assert set(report.plots[0].panels) == {"awgn, 0 dB", "awgn, 10 dB", "rayleigh, 0 dB", "rayleigh, 10 dB"}
    worst = min(row["change, 0 dB"].value for row in report.tables[0].rows if row["change, 0 dB"] is not None)
    assert report.remarks[0].startswith(f"Pilots: at 0 dB at worst {worst:.1f} ")
    monkeypatch.setattr(Evaluator, "measure", None)
    assert robustness.run(setting).to_json() == report.to_json()


def test_a_case_is_what_the_evaluator_measures_under_the_same_terms(setting):
    evaluator = setting.evaluator()
    condition = robustness.Condition("rayleigh", Csi.parse("pilots:count=2"), 3.0)
    policy = Policy.create([1, 1, 0.9, 1, 0.8, 1], 2, 20)
    case, choice = (condition, 0.0, 64), robustness.Choice("mine", policy, None)
    found = robustness._measure(setting, evaluator, {case: choice})[case]
    evaluator.snr_error_db = 3.0
    expected = evaluator.measure_policy(policy, Channel("rayleigh", 0.0, condition.csi), setting.seed, 64)
    assert found == {"policy": "mine", "right": expected.right.tolist(), "uses": expected.uses.mean()}
