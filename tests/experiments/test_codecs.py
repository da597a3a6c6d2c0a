"""The comparison of pairs on a few images of noise: each is trained once, kept as a bundle, and measured alike."""

from dataclasses import replace

import pytest

from experiments import codecs
from experiments.harness.report import Estimate
from experiments.harness.setting import Setting
from offline.measure.evaluator import Evaluator
from offline.train.jscc import CodecTrainer
from tests.experiments.tiny_data import write_cifar10
from thinwire.bundle import load_bundle
from thinwire.errors import InvalidRequestError


@pytest.fixture(name="setting", scope="module")
def setting_fixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codecs")
    return Setting("codecs", write_cifar10(folder, 40, 1), folder, quick=True, options=codecs.EXPERIMENT.given(True))


def test_every_pair_is_trained_once_and_measured_everywhere(setting, monkeypatch):
    report = codecs.run(setting)
    costs, *others = report.tables
    assert [row["pair"] for row in costs.rows] == [codecs.SHIPPED, *codecs.PAIRS]
    shipped, control, attention = (costs.rows[index]["edge GMACs, unmerged"] for index in (0, 1, -1))
    assert shipped == control < attention
    assert [len(table.rows) for table in others] == 3 * [2 * (1 + len(codecs.PAIRS)), 2 * len(codecs.PAIRS)]
    assert all(isinstance(row[name], Estimate) for table in others for row in table.rows for name in codecs.MEASURED)
    for label, (encoder, _) in codecs.PAIRS.items():
        bundle = load_bundle(setting.folder / label.replace(", ", "-").replace(" ", "-"))
        assert bundle.codec.encoder == encoder
    monkeypatch.setattr(Evaluator, "measure", None)
    monkeypatch.setattr(CodecTrainer, "run", None)
    assert codecs.run(setting).to_json() == report.to_json()


def test_a_pair_of_its_own_is_measured_at_every_rate_and_trains_nothing(setting, monkeypatch):
    monkeypatch.setattr(CodecTrainer, "run", None)
    plain, *others = codecs.run(replace(setting, options=codecs.EXPERIMENT.given(True, ["--rates"]))).tables
    assert [table.title for table in others] == ["awgn: accuracy, %", "rayleigh: accuracy, %"]
    rates = list(load_bundle("cifar10").codec.rates)
    for table in others:
        assert [row["symbols per token"] for row in table.rows] == rates
        assert all(isinstance(row[f"{snr_db:g} dB"], Estimate) for row in table.rows for snr_db in codecs.RATES_SNR_DB)
    assert isinstance(plain.rows[0]["accuracy, %"], Estimate)


@pytest.mark.parametrize("arguments", [["--bundle", "cifar10-middle"], ["--limit", "5"]])
def test_options_of_the_rates_alone_are_refused(setting, arguments):
    with pytest.raises(InvalidRequestError, match="--bundle and --limit go with --rates"):
        codecs.run(replace(setting, options=codecs.EXPERIMENT.given(True, arguments)))
