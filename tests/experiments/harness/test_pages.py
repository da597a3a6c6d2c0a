"""Results as files, and the comparison of two runs."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from experiments.harness import pages
from experiments.harness.experiment import Experiment
from experiments.harness.report import Curve, Estimate, Plot, Report, Table
from experiments.harness.setting import Setting
from experiments.registry import MODULES
from thinwire.errors import InvalidRequestError, UnavailableError


def report_of(setting: Setting, accuracy: float = 85.9, ms: float = 3.0) -> Report:
    rows = [{"policy": "p", "accuracy, %": Estimate(accuracy, 0.5), "time, ms": ms, "seed": setting.seed}]
    return Report(
        [Table("Figures", rows, timed=("time, ms",))],
        [Plot("curve", "SNR, dB", "accuracy, %", {"AWGN": [Curve("p", [0, 10], [80, 86], [1, 1])]})],
        ["It is so."],
        {"picture": np.zeros((4, 6, 3), np.uint8)},
    )


def experiment(**fields: Any) -> Experiment:
    common = {"name": "sample", "title": "A sample", "about": "What is asked.", "run": report_of, "data": ()}
    return Experiment(**common | fields)


def content_of(accuracy: float = 85.9, ms: float = 3.0, seed: int = 0) -> dict[str, Any]:
    setting = Setting("sample", Path(), Path(), seed=seed)
    return {"seed": seed, **report_of(setting, accuracy, ms).to_json()}


def test_a_run_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = experiment()
    module = ModuleType("sample_module")
    module.EXPERIMENT = one  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sample_module", module)
    monkeypatch.setitem(MODULES, "sample", "sample_module")
    report, content = one.measure(tmp_path, tmp_path / "work")
    pages.write(one, report, content, tmp_path / "out")
    pages.write_index(tmp_path / "out")
    page = (tmp_path / "out/sample.md").read_text()
    assert "# A sample" in page
    assert "    thinwire reproduce sample\n" in page
    assert "| p | 85.9 ± 0.5 | 3.0 | 0 |" in page
    assert "- It is so." in page
    for name in ("sample-curve.png", "sample-picture.png"):
        assert f"({name})" in page
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
    index = (tmp_path / "out/index.md").read_text()
    assert "(sample.md)" in index
    assert "profile" not in index
    again = pages.read("sample", tmp_path / "out")
    assert again is not None
    assert pages.compare(again, content).differences == []
    assert again["bundles"].keys() == {"cifar10"}


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    one = experiment(data=("none.tar",), packages=("no_such_package",))
    with pytest.raises(UnavailableError, match=r"sample needs .*none\.tar, the package no_such_package"):
        one.measure(tmp_path, tmp_path)


def test_a_folder_without_results_has_none_and_spoilt_ones_are_told(tmp_path: Path) -> None:
    assert pages.read("sample", tmp_path) is None
    for spoilt in ("{", "{}", "[]"):
        (tmp_path / "sample.json").write_text(spoilt)
        with pytest.raises(InvalidRequestError, match=r"no readable results .*sample\.json"):
            pages.read("sample", tmp_path)


def test_with_one_seed_every_cell_but_times_must_be_printed_alike() -> None:
    assert pages.compare(content_of(85.91, ms=3), content_of(85.94, ms=9)) == pages.Comparison([])
    assert pages.compare(content_of(85.9), content_of(86.0)).differences == [
        "Figures, row 1, accuracy, %: 85.9 ± 0.5, not 86.0 ± 0.5"
    ]


@pytest.mark.parametrize(("accuracy", "agrees"), [(86.9, True), (87.2, True), (87.4, False)])
def test_with_two_seeds_an_estimate_agrees_within_its_standard_errors(accuracy: float, agrees: bool) -> None:
    # 1.96 sqrt(0.5^2 + 0.5^2) = 1.386
    found = pages.compare(content_of(85.9), content_of(accuracy, seed=1))
    assert (found.differences == []) is agrees
    assert (found.estimates, found.outside) == (1, int(not agrees))


def test_of_many_estimates_of_two_seeds_some_may_be_further_apart() -> None:
    def content(seed: int, spread: float) -> dict[str, Any]:
        values = np.random.default_rng(seed).normal(85, spread, 400).tolist()
        table = Table("Figures", [{"accuracy, %": Estimate(value, 0.5)} for value in values])
        return {"seed": seed, **Report([table]).to_json()}

    found = pages.compare(content(0, 0.5), content(1, 0.5))
    assert found.differences == []
    # 20 are expected, with a standard deviation of 4.4.
    assert 5 < found.outside < 35
    assert len(pages.compare(content(0, 1.0), content(1, 1.0)).differences) > 3


def test_figures_without_an_error_must_be_equal_with_any_seed() -> None:
    table = [{"accuracy, %": Estimate(value, 0.0)} for value in (100.0, 99.0)]
    ours, theirs = ({"seed": k, **Report([Table("Figures", [row])]).to_json()} for k, row in enumerate(table))
    assert pages.compare(ours, theirs).differences == ["Figures, row 1, accuracy, %: 100.0 ± 0.0, not 99.0 ± 0.0"]


def test_other_tables_differ() -> None:
    found = pages.compare(content_of(), {"seed": 0, "tables": []})
    assert found.differences == ["other tables, or other numbers of rows"]


def test_what_was_kept_is_not_computed_again(tmp_path: Path) -> None:
    setting = Setting("sample", tmp_path, tmp_path)
    calls = []

    def compute() -> dict[str, Any]:
        calls.append(1)
        return {"values": (1, 2.5)}

    assert setting.kept("a", compute) == {"values": [1, 2.5]}
    assert setting.kept("a", compute) == {"values": [1, 2.5]}
    assert len(calls) == 1
    setting.kept("b", compute)
    assert len(calls) == 2
