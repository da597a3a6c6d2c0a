"""What all tests share: tiny models with random weights."""

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

from tests.e2e.loopback import write_tiny_bundle
from tests.leaks import pytest_collection_finish, pytest_runtest_protocol, pytest_runtest_teardown  # noqa: F401
from thinwire.bundle import Bundle
from thinwire.csi import Csi
from thinwire.nn.backbone import VisionTransformer, build_backbone

torch.set_num_threads(1)
# A script that runs tests in the background has them ignore Ctrl-C, which what they start would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Servers of tests are on this machine, where a proxy of the environment would not find them.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"
# What a user has completed is no part of what is tested.
os.environ["XDG_DATA_HOME"] = str(Path(tempfile.gettempdir(), f"thinwire-no-data-{os.getpid()}"))
# A slow machine is no fault of what is tested.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


def tiny_vit(seed: int = 0, **kwargs: Any) -> VisionTransformer:
    """A vision transformer of 25 patches and three blocks, in float64, with weights that make tokens differ."""
    torch.manual_seed(seed)
    options: dict[str, Any] = {
        "img_size": 20,
        "patch_size": 4,
        "num_classes": 7,
        "embed_dim": 24,
        "depth": 3,
        "num_heads": 3,
    }
    model = build_backbone({"kwargs": options | kwargs}).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return model


@pytest.fixture(name="make_vit")
def make_vit_fixture() -> Callable[..., VisionTransformer]:
    """The function that builds a tiny vision transformer."""
    return tiny_vit


@pytest.fixture(name="csi_parsed")
def csi_parsed_fixture(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that `Csi.parse` gets in this process, from now on."""
    texts: list[str] = []
    parse = Csi.parse

    def noted(text: str) -> Csi:
        texts.append(text)
        return parse(text)

    monkeypatch.setattr(Csi, "parse", noted)
    return texts


def _data(name: str) -> str:
    """A file, for tests marked ``data``."""
    path = Path(os.environ.get("THINWIRE_DATA", "")) / name
    if not path.is_file():
        pytest.skip(f"THINWIRE_DATA names no folder with {name}")
    return str(path)


@pytest.fixture(name="cifar10_test")
def cifar10_test_fixture() -> str:
    """The CIFAR-10 test split."""
    return _data("cifar10-test.tar")


@pytest.fixture(name="photos_test")
def photos_test_fixture() -> str:
    """The test split of Imagenette's photographs."""
    return _data("photos-test.tar")


@pytest.fixture(name="tiny_bundle", scope="session")
def tiny_bundle_fixture(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A whole bundle with random weights on disk."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
