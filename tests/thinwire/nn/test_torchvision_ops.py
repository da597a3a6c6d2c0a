"""torchvision is importable with and without its compiled operators, which a stand-in plays here."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from thinwire.nn import torchvision_ops
from thinwire.nn.torchvision_ops import ensure_importable

ROOT = Path(__file__).parents[3]
# As torchvision does: operators are used at import, after parts of the package are loaded.
PACKAGE = """
import torchvision.early
import torch
torch.ops.torchvision.nms
torch.ops.torchvision.qnms
"""
PROGRAM = """
import importlib, sys
import torch
from thinwire.nn.torchvision_ops import ensure_importable
first = sys.modules["torchvision"]
assert first.__file__.startswith(sys.argv[1]), first.__file__
assert first.early.loads == 2, first.early.loads
ensure_importable()
assert sys.modules["torchvision"] is first
schema = str(torch.ops.torchvision.nms.default._schema)
assert schema == "torchvision::nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor", schema
"""


def test_missing_operators_are_defined(tmp_path):
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(
        PACKAGE.replace(
            "torch.ops.torchvision.nms\n",
            "try:\n    torch.ops.torchvision.nms\n"
            "except AttributeError:\n    raise RuntimeError('operator torchvision::nms does not exist') from None\n",
        )
    )
    # Counts how often it is loaded: what came before the failure must not stay.
    (package / "early.py").write_text("import sys\nsys.loads = loads = getattr(sys, 'loads', 0) + 1\n")
    # Only this module: its package imports it first, and timm would need the real torchvision.
    (tmp_path / "thinwire" / "nn").mkdir(parents=True)
    (tmp_path / "thinwire" / "nn" / "__init__.py").write_text(
        "from thinwire.nn.torchvision_ops import ensure_importable\nensure_importable()\n"
    )
    (tmp_path / "thinwire" / "__init__.py").touch()
    source = (ROOT / "thinwire" / "nn" / "torchvision_ops.py").read_text()
    (tmp_path / "thinwire" / "nn" / "torchvision_ops.py").write_text(source)
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_it_may_be_called_again():
    ensure_importable()
    before = sys.modules["torchvision"]
    ensure_importable()
    assert sys.modules["torchvision"] is before
    assert importlib.import_module("torchvision.transforms").__name__ == "torchvision.transforms"


@pytest.mark.parametrize("error", [RuntimeError("another reason"), ImportError("torchvision::nms")])
def test_other_failures_are_not_hidden(error, monkeypatch):
    def fail(_):
        raise error

    monkeypatch.setattr(torchvision_ops.importlib, "import_module", fail)
    with pytest.raises(type(error)) as caught:
        ensure_importable()
    assert caught.value is error
