"""The rules of the house: which room may import which, and where the heavy libraries stand."""

import ast
import importlib.machinery
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
# A room imports itself and rooms of a lower rank.
RANKS = {"thinwire": 0, "policies": 1, "channel": 2, "edge": 2, "cloud": 2, "offline": 3, "deploy": 4, "experiments": 5}
TORCH = ("torch", "timm", "torchvision", "transformers", "safetensors.torch")
# What the rooms with torch must run without.
WITHOUT_TORCH = ("cloud/onnx_classifier.py",)
TORCH_HOMES = ("edge/torch_engine.py", "cloud/", "offline/", "experiments/", "thinwire/nn/", "policies/search/")
# The command line imports torch when a command needs it.
TORCH_WHEN_CALLED = ("deploy/cli/",)
# What is reached from below: `thinwire reproduce` runs what stands above the command line, and the public face, which
# scripts import from the lowest room, offers a channel and typed policies.
REACHED_WHEN_CALLED = {
    "experiments": ("deploy/cli/reproduce.py",),
    "channel": ("thinwire/simulation.py",),
    "policies": ("thinwire/client/",),
}
# What of the rooms that serve is trained with and measured: the models themselves, and nothing of how they are served.
DOORS = (
    "edge.engine",
    "edge.onnx_engine",
    "edge.torch_engine",
    "cloud.answerer",
    "cloud.language.load",
    "cloud.language.model",
    "cloud.onnx_classifier",
    "cloud.speech.memory",
    "cloud.speech.model",
    "cloud.torch_answerer",
    "cloud.torch_classifier",
    "cloud.torch_transcriber",
    "cloud.transcriber",
)
ONLY_HOMES = {
    "av": ("deploy/pictures.py", "experiments/speech/opus.py", "thinwire/audio/decoder.py"),
    "botorch": ("policies/search/",),
    "gpytorch": ("policies/search/",),
    "matplotlib": ("policies/plot/", "experiments/harness/plots.py"),
    "onnx": ("offline/export/",),
    "onnxruntime": ("thinwire/onnx_session.py",),
    "onnxscript": ("offline/export/",),
    "plotly": ("policies/plot/",),
    "pymoo": ("policies/search/",),
    "sionna": ("experiments/digital/ldpc.py", "experiments/digital/crc.py"),
    "sqlalchemy": ("policies/store/",),
}
GENERATED = "thinwire/v1/"
MOST_LINES = 350


class Import(NamedTuple):
    """What a line imports: the whole dotted name, and whether that happens in a function."""

    name: str
    line: int
    when_called: bool


def imports(source: str, module: str, is_package: bool = False) -> Iterator[Import]:
    """Every import of a source text, relative ones resolved against the module's own dotted name."""

    def visit(node: ast.AST, when_called: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, child.lineno, when_called) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                parents = module.split(".")[: None if is_package else -1]
                parents = parents[: len(parents) - child.level + 1] if child.level else []
                base = ".".join([*parents, *([child.module] if child.module else [])])
                for alias in child.names:
                    yield Import(f"{base}.{alias.name}".lstrip("."), child.lineno, when_called)
            else:
                is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                is_for_types = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
                yield from visit(child, when_called or is_function or is_for_types)

    yield from visit(ast.parse(source), False)


def violations(path: str, source: str) -> list[str]:
    """What is wrong with the imports of one file.

    Args:
        path: from the root of the repository, with slashes.
        source: the file's text.
    """
    room = path.partition("/")[0]
    is_package = path.endswith("/__init__.py")
    module = path.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
    found = []
    for name, line, when_called in imports(source, module, is_package):
        top = name.partition(".")[0]
        where = f"{path}:{line} imports {name}"
        is_reached = when_called and path.startswith(REACHED_WHEN_CALLED.get(top, ("?",)))
        if top == "tests" or (top in RANKS and top != room and RANKS[top] >= RANKS[room] and not is_reached):
            found.append(f"{where}: {room} must not know it")
        is_door = any(f"{name}.".startswith(f"{door}.") for door in DOORS)
        if room == "offline" and top in ("edge", "cloud") and not is_door:
            found.append(f"{where}: none of the doors of {top}")
        is_torch = any(f"{name}.".startswith(f"{library}.") for library in TORCH)
        is_late = when_called and path.startswith(TORCH_WHEN_CALLED)
        if is_torch and not is_late and (path in WITHOUT_TORCH or not path.startswith(TORCH_HOMES)):
            found.append(f"{where}: torch has its homes")
        if top in ONLY_HOMES and not path.startswith(ONLY_HOMES[top]):
            found.append(f"{where}: {top} has its home")
        if top == "proto" and room != "proto":
            found.append(f"{where}: the stubs are thinwire.v1")
    return found


def files() -> list[Path]:
    """The sources of every room that there is."""
    return [path for room in RANKS for path in sorted((ROOT / room).rglob("*.py"))]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", files(), ids=relative)
def test_imports_keep_the_rules(path: Path) -> None:
    assert violations(relative(path), path.read_text()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("thinwire/a.py", "import policies"),
        ("thinwire/a.py", "from edge.engine import Engine"),
        ("policies/a.py", "from channel.models import awgn"),
        ("channel/a.py", "import edge.app"),
        ("channel/models/a.py", "def f():\n    import cloud"),
        ("edge/a.py", "from cloud.batcher import x"),
        ("edge/a.py", "import os, channel"),
        ("cloud/a.py", "if TYPE_CHECKING:\n    from edge import app"),
        ("cloud/a.py", "try:\n    import offline\nexcept ImportError:\n    pass"),
        ("offline/a.py", "from deploy.cli import main"),
        ("offline/a.py", "import cloud"),
        ("offline/a.py", "from cloud.batcher import Batcher"),
        ("offline/a.py", "from cloud import server"),
        ("offline/a.py", "from cloud.language import generate"),
        ("offline/a.py", "def f():\n    from edge.engines import x"),
        ("deploy/a.py", "import experiments.split"),
        ("deploy/cli/a.py", "def f():\n    import experiments"),
        ("deploy/cli/reproduce.py", "import experiments"),
        ("thinwire/simulation.py", "import channel.models"),
        ("thinwire/a.py", "def f():\n    import channel"),
        ("thinwire/client/a.py", "if TYPE_CHECKING:\n    import edge"),
        ("deploy/a.py", "from tests.parts import make_bundle"),
        ("edge/a.py", "import torch"),
        ("edge/a.py", "import torch.nn.functional as F"),
        ("edge/a.py", "def f():\n    from timm.layers import Attention"),
        ("edge/__init__.py", "from torch import nn"),
        ("edge/torch.py", "import torch"),
        ("edge/onnx_engine.py", "import torch"),
        ("edge/onnx_engine.py", "import onnxruntime"),
        ("cloud/onnx_classifier.py", "import torch"),
        ("thinwire/a.py", "import onnx"),
        ("offline/a.py", "from onnxscript import opset20"),
        ("thinwire/a.py", "from safetensors.torch import load_file"),
        ("thinwire/a.py", "from safetensors import torch"),
        ("thinwire/a.py", "import safetensors.torch as st"),
        ("channel/models/a.py", "import torch"),
        ("deploy/cli/a.py", "import torch"),
        ("deploy/cli/a.py", "class A:\n    import torch"),
        ("deploy/a.py", "def f():\n    import torch"),
        ("policies/a.py", "import botorch.models"),
        ("offline/a.py", "import botorch"),
        ("policies/front.py", "from sqlalchemy import select"),
        ("policies/search/a.py", "import sqlalchemy"),
        ("experiments/a.py", "from matplotlib import figure"),
        ("deploy/cli/a.py", "def f():\n    import plotly.graph_objects as go"),
        ("policies/store.py", "import sqlalchemy"),
        ("thinwire/a.py", "from proto.thinwire.v1 import link_pb2"),
        ("edge/sub/a.py", "from ... import cloud"),
    ],
)
def test_the_rules_see_what_breaks_them(path: str, source: str) -> None:
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("thinwire/nn/a.py", "import torch\nfrom thinwire import errors\nimport timm"),
        ("policies/a.py", "from thinwire.errors import BudgetError\nfrom policies import front"),
        ("policies/search/a.py", "import botorch\nfrom policies import pareto"),
        ("policies/store/a.py", "import sqlalchemy"),
        ("edge/torch_engine.py", "import torch\nfrom edge import engine\nimport policies.policy"),
        ("edge/sub/a.py", "from . import cloud\nfrom .channel import x\nfrom .. import offline"),
        ("edge/sub/__init__.py", "from . import cloud\nfrom .. import app"),
        ("edge/a.py", "from safetensors.numpy import load_file\nimport torchless"),
        ("cloud/a.py", "import torch, timm"),
        ("offline/a.py", "import torch, edge.engine, channel, cloud.answerer, policies, thinwire, torchaudio"),
        ("offline/a.py", "from cloud import torch_classifier\nfrom edge.torch_engine import TorchEngine"),
        ("experiments/a.py", "from cloud.batcher import Batcher"),
        ("deploy/cli/a.py", "import offline\ndef f():\n    import torch\nasync def g():\n    import timm"),
        ("experiments/a.py", "import torch, deploy"),
        ("deploy/cli/reproduce.py", "def f():\n    import experiments"),
        ("thinwire/simulation.py", "def f():\n    import channel.models"),
        ("thinwire/client/a.py", "if TYPE_CHECKING:\n    from policies.policy import MeasuredPolicy"),
    ],
)
def test_the_rules_let_pass_what_keeps_them(path: str, source: str) -> None:
    assert violations(path, source) == []


def test_every_room_is_known() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert rooms <= RANKS.keys()
    assert {"thinwire", "policies", "channel", "edge", "cloud"} <= rooms


def test_the_wheel_holds_the_rooms_and_nothing_else() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(packages) == RANKS.keys() - {"experiments"}


def test_proto_gives_way_to_a_package_of_that_name(tmp_path: Path) -> None:
    # Ray brings proto-plus, whose package is called `proto`.
    assert not list((ROOT / "proto").rglob("*.py"))
    assert list((ROOT / "proto").rglob("*.proto"))
    (tmp_path / "proto").mkdir()
    theirs = tmp_path / "proto" / "__init__.py"
    theirs.touch()
    spec = importlib.machinery.PathFinder.find_spec("proto", [str(ROOT), str(tmp_path)])
    assert spec is not None
    assert spec.origin == str(theirs)


@pytest.mark.parametrize("path", [path for path in files() if not relative(path).startswith(GENERATED)], ids=relative)
def test_a_file_does_one_thing(path: Path) -> None:
    assert len(path.read_text().splitlines()) < MOST_LINES


def loaded_by(*modules: str) -> set[str]:
    """Top-level names that a fresh interpreter holds after importing the modules."""
    program = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert result.returncode == 0, result.stderr
    return {name.partition(".")[0] for name in result.stdout.split()}


def test_a_device_without_torch_chooses_and_serves() -> None:
    loaded = loaded_by(
        "policies.choice", "policies.fronts", "channel.server", "edge.app", "edge.server", "edge.onnx_engine"
    )
    assert {"policies", "channel", "edge", "thinwire", "numpy", "fastapi", "onnxruntime"} <= loaded
    heavy = {"torch", "timm", "torchvision", "transformers", "safetensors", "onnx", "onnxscript", "botorch"}
    assert loaded & (heavy | {"sqlalchemy", "psycopg", "cloud", "offline"}) == set()


def test_the_channel_reads_no_files_of_ours() -> None:
    assert loaded_by("channel.server") & {"pydantic", "fastapi", "onnxruntime", "policies"} == set()


def test_a_cloud_that_classifies_needs_no_torch() -> None:
    loaded = loaded_by("cloud.server", "cloud.onnx_classifier")
    assert "onnxruntime" in loaded
    assert loaded & {"torch", "timm", "torchvision", "transformers", "safetensors", "onnx", "edge"} == set()


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    loaded = loaded_by("deploy.cli.main")
    heavy = {"torch", "timm", "torchvision", "botorch", "sqlalchemy", "psycopg", "offline", "onnx", "onnxruntime"}
    assert loaded & heavy == set()
