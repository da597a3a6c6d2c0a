"""No process of ours that loads ONNX Runtime reports on its user, or leaves a trace at his home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY")
# Says what the library found in the environment when it was loaded, and runs a graph.
PROGRAM = """
import os, sys

class Watch:
    def find_spec(self, name, *rest):
        if name == "onnxruntime":
            print(os.environ.get("ORT_DISABLE_TELEMETRY"))

sys.meta_path.insert(0, Watch())
{start}
from thinwire.bundle import load_bundle
from thinwire.onnx_session import OnnxSession
import numpy as np
bundle = load_bundle("cifar10")
session = OnnxSession.load(bundle, "plain.onnx")
assert "onnxruntime" in sys.modules
size = bundle.preprocessing.size
session.run({{"pixels": np.zeros((1, size, size, 3), np.uint8)}})
"""


def run(program: str, home: Path, **variables: str) -> str:
    """What a program prints that starts as it would for a new user, at ``home``."""
    kept = {
        name: value for name, value in os.environ.items() if name not in NAMES and not name.startswith(("XDG_", "HF_"))
    }
    environment = kept | {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"} | variables
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "start",
    [
        "from edge.onnx_engine import OnnxEngine",
        "import cloud.onnx_classifier",
        "from thinwire.onnx_session import open_session",
    ],
)
def test_onnx_runtime_is_loaded_with_its_telemetry_off_and_writes_nothing(start: str, tmp_path: Path) -> None:
    assert run(PROGRAM.format(start=start), tmp_path) == "1\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("given", "kept"), [("", "1"), ("0", "0"), ("true", "true")])
def test_what_the_user_set_stands(given: str, kept: str, tmp_path: Path) -> None:
    program = f"import os, thinwire; print(*(os.environ[name] for name in {NAMES}))"
    assert run(program, tmp_path, **dict.fromkeys(NAMES, given)).split() == [kept, kept]


def test_the_images_say_so_too() -> None:
    dockerfile = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
    base, *_ = dockerfile.split("\nFROM base AS ")
    assert " ORT_DISABLE_TELEMETRY=1" in base
