"""What scripts import is there, documented, light until used, and its examples run (clients: test_readme.py)."""

import inspect
import subprocess
import sys

import pytest

import thinwire
from tests.readme import run_example


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


@pytest.mark.parametrize("name", sorted({*thinwire.__all__} - {"AsyncClient", "Client", "ThinwireError"}))
def test_its_example_runs(name):
    assert run_example(getattr(thinwire, name)) == ""
