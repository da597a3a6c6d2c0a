"""``thinwire reproduce``: which experiments run, what is not run again, and what is told of earlier results."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from deploy.cli import reproduce
from deploy.cli.main import main
from experiments.harness.experiment import Experiment
from experiments.harness.report import Report, Table
from experiments.harness.setting import Setting


class Sample:
    """Two experiments that count their runs; the second needs what nobody has."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, int, bool]] = []
        self.accuracy = 85.9

    def run(self, setting: Setting) -> Report:
        self.runs.append((setting.name, setting.seed, setting.quick))
        return Report([Table("Figures", [{"accuracy, %": self.accuracy}])])


@pytest.fixture
def sample(monkeypatch: pytest.MonkeyPatch) -> Sample:
    sample = Sample()
    for name, data in (("one", ()), ("two", ("absent.tar",))):
        module = ModuleType(f"sample_{name}")
        module.EXPERIMENT = Experiment(name, name, "", sample.run, data=data)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(reproduce, "MODULES", {"one": "sample_one", "two": "sample_two"})
    return sample


def call(folder: Path, *arguments: str) -> int:
    work, data = str(folder / "work"), str(folder)
    return main(["reproduce", *arguments, "--work", work, "--data", data])


def test_all_that_can_be_run_is_and_once(sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path) == 0
    assert call(tmp_path) == 0
    assert sample.runs == [("one", 0, False)]
    assert "two: left out, needs " in capsys.readouterr().err
    assert call(tmp_path, "--again") == 0
    assert call(tmp_path, "one", "--seed", "3") == 0
    assert call(tmp_path, "--quick") == 0
    assert sample.runs[1:] == [("one", 0, False), ("one", 3, False), ("one", 0, True)]
    assert (tmp_path / "work/results/index.md").exists()
    assert json.loads((tmp_path / "work/quick/one.json").read_text())["quick"] is True


def test_earlier_results_are_compared(sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    earlier = str(tmp_path / "earlier")
    assert call(tmp_path, "--output", earlier) == 0
    assert call(tmp_path, "--against", earlier) == 0
    assert "agrees with what is there" in capsys.readouterr().out
    sample.accuracy = 84.0
    assert call(tmp_path, "--again", "--against", earlier) == 1
    output = capsys.readouterr()
    assert "Figures, row 1, accuracy, %: 84.0, not 85.9" in output.out
    assert "1 figures differ" in output.err


def test_an_experiment_that_there_is_not(sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path, "three") == 1
    assert "no experiment 'three'; there are one, two" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(reproduce.MODULES))
def test_every_experiment_goes_by_its_name(name: str) -> None:
    assert reproduce.load(name).name == name


def test_a_quick_run_never_replaces_a_full_one(
    sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "pages")
    assert call(tmp_path, "--output", output) == 0
    assert call(tmp_path, "--output", output, "--quick") == 1
    assert "has the full one; a quick run needs another --output" in capsys.readouterr().err
    assert json.loads((tmp_path / "pages/one.json").read_text())["quick"] is False


def test_what_is_asked_for_by_name_and_cannot_run_is_an_error(
    sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path, "two") == 1
    assert "two needs " in capsys.readouterr().err


def test_nothing_to_compare_with_is_told(sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path, "--against", str(tmp_path / "empty")) == 0
    assert "to compare with" in capsys.readouterr().out
