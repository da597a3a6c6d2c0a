"""``thinwire reproduce``: which experiments run, what is not run again, and what is told of earlier results."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from deploy.cli.main import main
from experiments import registry
from experiments.harness.experiment import Experiment
from experiments.harness.options import BUNDLE, Option
from experiments.harness.report import Report, Table
from experiments.harness.setting import TEST, Setting, beside
from thinwire.bundle import Bundle


class Sample:
    """Two experiments that count their runs and take an option; the second needs what nobody has."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, int, bool]] = []
        self.accuracy = 85.9

    def run(self, setting: Setting) -> Report:
        self.runs.append((setting.name, setting.seed, setting.quick))
        self.asked = setting.options.repetitions
        return Report([Table("Figures", [{"accuracy, %": self.accuracy, "ms": len(self.runs)}], timed=("ms",))])


@pytest.fixture
def sample(monkeypatch: pytest.MonkeyPatch) -> Sample:
    sample = Sample()
    options = {"repetitions": Option(9, "of everything", 1, int)}
    for name, data in (("one", ()), ("two", ("absent.tar",))):
        module = ModuleType(f"sample_{name}")
        module.EXPERIMENT = Experiment(name, f"Of {name}", "", sample.run, data=data, options=options)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in [*registry.MODULES]:
        monkeypatch.delitem(registry.MODULES, name)
    for name in ("one", "two"):
        monkeypatch.setitem(registry.MODULES, name, f"sample_{name}")
    return sample


def call(folder: Path, *arguments: str) -> int:
    work, data = str(folder / "work"), str(folder)
    return main(["reproduce", *arguments, "--work", work, "--data", data])


def test_all_that_can_be_run_is_and_once(sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path) == 0
    assert call(tmp_path) == 0
    assert sample.runs == [("one", 0, False)]
    assert "left out: two needs " in capsys.readouterr().err
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


def test_its_own_options_make_another_run(sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = []
    for arguments in ([], ["--repetitions", "3"], ["--repetitions", "3"], ["--repetitions", "9"]):
        assert call(tmp_path, "one", *arguments) == 0
        asked.append((sample.asked, len(sample.runs)))
    assert asked == [(9, 1), (3, 2), (3, 2), (9, 3)]
    assert call(tmp_path, "one", "--repetitions", "3", "--quick") == 0
    assert "    thinwire reproduce one --quick --repetitions 3\n" in (tmp_path / "work/quick/one.md").read_text()
    assert call(tmp_path, "one", "two", "--repetitions", "3") == 1
    assert "--repetitions 3: options of one experiment need its name alone" in capsys.readouterr().err


def test_tables_are_printed_and_written_where_a_file_is_named(
    sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path, "one", "--json", str(tmp_path / "found.json")) == 0
    assert "Figures\n\n| accuracy, % | ms |\n| --- | --- |\n| 85.9 | 1 |\n" in capsys.readouterr().out
    found = json.loads((tmp_path / "found.json").read_text())["one"]
    assert found["tables"][0]["rows"] == [{"accuracy, %": 85.9, "ms": 1}]
    assert found["machine"]["cores"] >= 1
    assert set(found["versions"]) >= {"thinwire", "torch", "numpy"}


def test_all_are_listed_with_options_and_with_what_is_missing(
    sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(tmp_path, "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:2]] == [["one", "Of", "one"], ["--repetitions", "9", "of", "everything"]]
    assert lines[2].startswith("two         Of two (needs ")
    assert sample.runs == []


def test_a_file_of_data_stands_for_the_folder(sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "mine.tar").write_bytes(b"data")
    work = str(tmp_path / "work")
    assert main(["reproduce", "two", "--work", work, "--data", str(tmp_path / "mine.tar")]) == 0
    assert [*json.loads((tmp_path / "work/results/two.json").read_text())["data"]] == ["mine.tar"]


def test_bench_says_what_it_is_now_and_measures_anew(
    sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["one", "--repetitions", "2", "--work", str(tmp_path), "--data", str(tmp_path)]
    assert main(["bench", *arguments]) == main(["bench", *arguments]) == 0
    assert len(sample.runs) == 2
    first = capsys.readouterr().err.splitlines()[0]
    assert first == f"thinwire bench is now: thinwire reproduce {' '.join(arguments)} --again"


def test_a_package_that_is_not_installed_is_named(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sample_lacking.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry.MODULES, "lacking", "sample_lacking")
    assert call(tmp_path) == 0
    assert "left out: lacking needs the package no_such_package" in capsys.readouterr().err
    assert call(tmp_path, "lacking") == 1
    assert call(tmp_path, "--list") == 0


def test_where_no_checkout_is_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for command in ("reproduce", "bench"):
        assert main([command, "profile"]) == 1
        assert "experiments are in the project's checkout" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(registry.MODULES))
def test_every_experiment_goes_by_its_name(name: str) -> None:
    assert registry.load(name).name == name


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


def test_another_bundle_has_pages_and_data_of_its_own(
    sample: Sample, tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    module = ModuleType("sample_three")
    options = BUNDLE | {"repetitions": Option(9, "of everything", 1, int)}
    three = Experiment("three", "Of three", "It is `{bundle}`.", sample.run, data=(TEST,), options=options)
    module.EXPERIMENT = three  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sample_three", module)
    monkeypatch.setitem(registry.MODULES, "three", "sample_three")
    folder = tmp_path / "photos"
    photos = replace(tiny_bundle, name="photos", folder=folder)
    shutil.copytree(tiny_bundle.folder, folder)
    photos.save()
    for stem in ("cifar10", "photos"):
        (tmp_path / f"{stem}-test.tar").write_bytes(stem.encode())
    output = tmp_path / "work/results"
    assert call(tmp_path, "three") == 0
    # Of all, those that take a bundle.
    assert call(tmp_path, "--bundle", str(folder)) == 0
    assert "left out: one takes no --bundle" in capsys.readouterr().err
    assert call(tmp_path, "three", "--bundle", str(folder)) == 0
    assert [name for name, *_ in sample.runs] == ["three", "three"]
    found = {page: json.loads((output / f"{page}.json").read_text()) for page in ("three", "three-photos")}
    assert [*found["three"]["data"]] == ["cifar10-test.tar"]
    assert [*found["three-photos"]["data"]] == ["photos-test.tar"]
    assert [*found["three-photos"]["bundles"]] == ["photos"]
    assert "It is `photos`." in (output / "three-photos.md").read_text()
    index = (output / "index.md").read_text()
    assert "[Of three](three.md)" in index
    assert "[Of three: photos](three-photos.md)" in index
    assert call(tmp_path, "three", "--bundle", str(folder), "--again", "--against", str(output)) == 0
    assert "agrees with what is there" in capsys.readouterr().out
    assert call(tmp_path, "one", "--bundle", str(folder)) == 1
    assert "one takes no --bundle: it is of cifar10" in capsys.readouterr().err
    assert call(tmp_path, "three", "--bundle", "none") == 1
    assert "no readable bundle none" in capsys.readouterr().err


def test_bundles_beside_one_another_are_found_by_the_ends_of_their_names() -> None:
    assert beside("photos", ("cifar10", "cifar10-middle")) == ["photos", "photos-middle"]
    assert beside("a/photos/", ("cifar10", "cifar10-middle")) == ["a/photos", "a/photos-middle"]
    assert beside("cifar10", ("cifar10",)) == ["cifar10"]


def test_nothing_to_compare_with_is_told(sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path, "--against", str(tmp_path / "empty")) == 0
    assert "to compare with" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [("--work", "file/work"), ("--output", "file"), ("--json", "."), ("--json", "file/one.json"), ("--json", "no/one")],
)
def test_where_nothing_can_be_written_nothing_is_measured(
    sample: Sample, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, str]
) -> None:
    (tmp_path / "file").write_text("mine")
    field, path = arguments
    words = ["--work", str(tmp_path / "work"), "--data", str(tmp_path), field, str(tmp_path / path)]
    assert main(["reproduce", "one", *words]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"thinwire: invalid_request: {field[2:]}: expected a f")
    assert error.count("\n") == 1
    assert sample.runs == []
