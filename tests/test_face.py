"""What scripts import: it is there, documented, light until it is used, and its examples run."""

import doctest
import inspect
import io
import subprocess
import sys

import pytest

import thinwire
from deploy.cli.common import DEFAULT_BUNDLES
from deploy.demo import drawing, photographs
from deploy.ports import Ports
from deploy.testbed import LocalTestbed


def test_all_is_there():
    for name in thinwire.__all__:
        assert getattr(thinwire, name).__module__.startswith("thinwire.")
    assert thinwire.errors.ThinwireError is thinwire.ThinwireError
    assert {*thinwire.__all__, "errors", "__version__"} <= set(dir(thinwire))
    with pytest.raises(AttributeError, match="module 'thinwire' has no attribute 'nothing'"):
        _ = thinwire.nothing


def test_it_is_light_until_it_is_used():
    program = "import sys, thinwire; before = set(sys.modules); thinwire.ThinwireError; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {"torch", "numpy", "httpx", "pydantic", "grpc"} & set(done.stdout.split()) == set()


@pytest.mark.parametrize("name", thinwire.__all__)
def test_all_is_documented(name):
    one = getattr(thinwire, name)
    assert inspect.getdoc(one)
    if inspect.isclass(one):
        methods = [m for n, m in inspect.getmembers(one, inspect.isroutine) if not n.startswith("_") and n in vars(one)]
        assert all(inspect.getdoc(method) for method in methods)


@pytest.fixture(name="places", scope="module")
def places_fixture(tmp_path_factory):
    """What the examples of the clients call their addresses and files."""
    folder = tmp_path_factory.mktemp("face")
    (folder / "triangle.png").write_bytes(drawing())
    (folder / "cat.png").write_bytes(next(photographs(None))[1])
    with LocalTestbed(DEFAULT_BUNDLES, Ports.free(), log_folder=folder) as testbed:
        yield {
            "url": testbed.edge_url,
            "cloud_url": testbed.cloud_url,
            "photo": str(folder / "cat.png"),
            "triangle": str(folder / "triangle.png"),
        }


@pytest.mark.parametrize("name", sorted({*thinwire.__all__} - {"ThinwireError"}))
def test_its_example_runs(name, places):
    one = getattr(thinwire, name)
    failures, runs = io.StringIO(), doctest.DocTestRunner(verbose=False)
    (example,) = doctest.DocTestFinder(recurse=False).find(one, name, globs=dict(places))
    assert len(example.examples) > 1
    runs.run(example, out=failures.write)
    assert failures.getvalue() == ""
