"""``thinwire bench`` hands over to the benchmark of that name."""

import importlib
import sys
from types import ModuleType

import pytest

from deploy.cli.bench import SAME, TABLES
from deploy.cli.main import main


@pytest.mark.parametrize(
    ("table", "module"), [("vqa", "experiments.speed.vqa"), ("efficiency", "experiments.speed.edge")]
)
def test_options_reach_the_benchmark(monkeypatch, table, module):
    given = []
    fake = ModuleType(module)
    fake.main = given.append
    monkeypatch.setitem(sys.modules, module, fake)
    assert main(["bench", table, "--json", "file"]) == 0
    assert given == [["--json", "file"]]


@pytest.mark.parametrize("table", TABLES)
def test_every_table_has_a_benchmark(table):
    assert importlib.util.find_spec(f"benchmarks.{SAME.get(table, table)}") is not None


@pytest.mark.parametrize(
    ("missing", "message"), [("benchmarks", "part of the project's checkout"), ("torch", "needs the package torch")]
)
def test_what_is_missing_is_told(monkeypatch, capsys, missing, message):
    def fail(name):
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr("deploy.cli.bench.importlib.import_module", fail)
    assert main(["bench", "vqa"]) == 1
    assert message in capsys.readouterr().err
