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


def test_without_torch_what_needs_it_is_not_offered():
    program = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "import thinwire\n"
        "from thinwire import *\n"
        "print(hasattr(thinwire, 'merge'), 'Codec' in dir(thinwire), Client.__name__)\n"
        "thinwire.Codec\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "False False Client\n"
    assert "thinwire.Codec needs torch: install the extra" in done.stderr


def test_types_are_there_for_those_who_use_them(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import thinwire\n"
        "with thinwire.Client() as client:\n"
        "    answer = client.classify('cat.png', budget=38)\n"
        "    reveal_type(answer.label)\n"
        "    reveal_type(client.policies())\n"
        "reveal_type(thinwire.__version__)\n"
        "reveal_type(thinwire.simulate([1.0]).channel_uses)\n"
        "client.classify('cat.png', topk=3)\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    told = [line.partition(": ")[2] for line in done.stdout.splitlines()[:-1]]
    assert told[:4] == [
        'note: Revealed type is "str"',
        'note: Revealed type is "list[policies.policy.MeasuredPolicy]"',
        'note: Revealed type is "str"',
        'note: Revealed type is "int"',
    ], done.stdout
    assert 'error: Unexpected keyword argument "topk"' in told[4]
