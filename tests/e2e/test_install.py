"""The package as people install it: from a wheel and from an sdist, without a checkout."""

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

import thinwire
from deploy.demo import photographs

pytestmark = [pytest.mark.install, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")
ASK = """
import sys, thinwire
assert "site-packages" in thinwire.__file__, thinwire.__file__
with thinwire.Client(sys.argv[1]) as client:
    answer = client.classify(sys.argv[2], budget=38)
print(answer.label, answer.link.channel_uses <= 38, thinwire.__version__)
"""


# Of the developer's own, which would shadow what was installed.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(*command: object, cwd: Path) -> str:
    asked = [str(part) for part in command]
    done = subprocess.run(asked, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(name="built", scope="module")
def built_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("built")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    run(python, *PIP, "install", "build==1.5.1", cwd=folder)
    # The wheel from the sdist, as whoever installs the sdist gets it.
    run(python, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return folder


def test_the_sdist_gives_the_wheel_of_the_checkout(built: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    (wheel,) = built.glob("*.whl")
    assert sdist.name == f"thinwire-{version('thinwire')}.tar.gz"
    run(sys.executable, *PIP, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT, cwd=tmp_path)
    (direct,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(direct) as other:
        assert {item.filename: item.CRC for item in one.infolist()} == {
            item.filename: item.CRC for item in other.infolist()
        }
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "pyproject.toml", "constraints.txt", "proto/thinwire/v1/link.proto"} <= names


def test_it_serves_the_shipped_bundle_from_any_folder(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python, command = tmp_path / "venv" / "bin" / "python", tmp_path / "venv" / "bin" / "thinwire"
    run(python, *PIP, "install", "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    assert run(command, "--version", cwd=tmp_path) == f"thinwire {thinwire.__version__}\n"
    _, cat = next(photographs(None))
    (tmp_path / "cat.png").write_bytes(cat)
    asked = [str(command), "up", "--port", "0"]
    up = subprocess.Popen(asked, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    try:
        assert up.stdout is not None
        told = json.loads(up.stdout.readline())
        answer = run(python, "-c", ASK, told["edge"], "cat.png", cwd=tmp_path)
        assert answer.split() == ["cat", "True", thinwire.__version__]
    finally:
        up.terminate()
        up.communicate(timeout=60)
    # As after Ctrl-C.
    assert up.returncode == 130
