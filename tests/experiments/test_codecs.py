"""The comparison of pairs on a few images of noise: each is trained once, kept as a bundle, and measured alike."""

import pytest

from experiments import codecs
from experiments.harness.report import Estimate
from experiments.harness.setting import Setting
from offline.measure.evaluator import Evaluator
from offline.train.jscc import CodecTrainer
from tests.experiments.tiny_data import write_cifar10
from thinwire.bundle import load_bundle


@pytest.fixture(name="setting", scope="module")
def setting_fixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codecs")
    return Setting("codecs", write_cifar10(folder, 40, 1), folder, quick=True)


def test_every_pair_is_trained_once_and_measured_everywhere(setting, monkeypatch):
    report = codecs.run(setting)
    costs, *others = report.tables
    assert [row["pair"] for row in costs.rows] == [codecs.SHIPPED, *codecs.PAIRS]
    shipped, control, attention = (costs.rows[index]["edge GMACs, unmerged"] for index in (0, 1, -1))
    assert shipped == control < attention
    assert [len(table.rows) for table in others] == 3 * [2 * (1 + len(codecs.PAIRS)), 2 * len(codecs.PAIRS)]
    assert all(isinstance(row[name], Estimate) for table in others for row in table.rows for name in codecs.MEASURED)
    for label, pair in codecs.PAIRS.items():
        bundle = load_bundle(setting.folder / label.replace(", ", "-").replace(" ", "-"))
        assert bundle.codec.encoder == pair.encoder
    monkeypatch.setattr(Evaluator, "measure", None)
    monkeypatch.setattr(CodecTrainer, "run", None)
    assert codecs.run(setting).to_json() == report.to_json()
