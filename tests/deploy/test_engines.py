"""Exporting a bundle, and which engine then computes."""

import shutil
from importlib import util
from pathlib import Path

import numpy as np
import pytest

from cloud.onnx_classifier import OnnxClassifier
from cloud.torch_classifier import TorchClassifier
from deploy.cli.engines import cloud_classifier, edge_engine
from deploy.cli.main import main
from edge.onnx_engine import OnnxEngine
from edge.torch_engine import TorchEngine
from offline.export import bundle as exporting
from policies.policy import Policy
from thinwire.bundle import load_bundle
from thinwire.equalise import ReceivedTokens
from thinwire.errors import BundleError, UnavailableError


@pytest.fixture(name="exported", scope="module")
def exported_fixture(tiny_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported") / "tiny"
    shutil.copytree(tiny_bundle.folder, folder)
    main(["bundle", "export", str(folder)])
    return load_bundle(folder)


@pytest.fixture(name="missing")
def missing_fixture(monkeypatch):
    """Names of packages that are taken for missing."""
    names: set[str] = set()
    monkeypatch.setattr("deploy.cli.engines.find_spec", lambda name: None if name in names else util.find_spec(name))
    return names


def test_an_export_keeps_the_digest_and_is_verified(exported, tiny_bundle, capsys):
    assert exported.digest == tiny_bundle.digest
    assert set(exported.exports) == {"edge.onnx", "cloud.onnx", "plain.onnx"}
    main(["bundle", "verify", "--bundle", str(exported.folder)])
    assert f"{len(exported.files) + 3} files" in capsys.readouterr().out


def test_an_edge_and_a_cloud_of_either_kind_understand_one_another(exported):
    pixels = np.random.default_rng(0).integers(0, 256, (exported.preprocessing.size,) * 2 + (3,)).astype(np.uint8)
    policy = Policy.create([0.9] * exported.split_layer, exported.codec.rates[0])
    answers = [
        cloud_classifier(exported, cloud, 1).classify_frames(
            [ReceivedTokens(edge_engine(exported, edge, 1).encode(pixels, policy, 10.0).symbols, 0.1)]
        )
        for edge in ("onnx", "torch")
        for cloud in ("onnx", "torch")
    ]
    for answer in answers[1:]:
        np.testing.assert_allclose(answer, answers[0], rtol=1e-3, atol=1e-3)


def test_auto_takes_what_there_is(exported, tiny_bundle, missing):
    assert isinstance(edge_engine(exported, "auto", 1), OnnxEngine)
    assert isinstance(cloud_classifier(exported, "auto", 1), OnnxClassifier)
    assert isinstance(edge_engine(exported, "torch", 1), TorchEngine)
    assert isinstance(cloud_classifier(exported, "torch", 1), TorchClassifier)
    assert isinstance(edge_engine(tiny_bundle, "auto", 1), TorchEngine)
    missing.add("onnxruntime")
    assert isinstance(edge_engine(exported, "auto", 1), TorchEngine)


def test_what_is_missing_is_told(exported, tiny_bundle, missing):
    with pytest.raises(BundleError, match="it was not exported"):
        edge_engine(tiny_bundle, "onnx", 1)
    missing.add("torch")
    assert isinstance(edge_engine(exported, "auto", 1), OnnxEngine)
    with pytest.raises(UnavailableError, match=r"torch is not installed, and bundle tiny was not exported"):
        edge_engine(tiny_bundle, "auto", 1)
    missing.add("onnxruntime")
    with pytest.raises(UnavailableError, match="onnxruntime is not installed"):
        edge_engine(exported, "onnx", 1)


def test_what_torch_cannot_export_is_told(tiny_bundle, monkeypatch):
    def fail(engine):
        raise RuntimeError("no such\noperator")

    monkeypatch.setattr(exporting, "export_edge", fail)
    with pytest.raises(BundleError, match=r"no edge\.onnx can be exported: RuntimeError: no such operator"):
        exporting.export_bundle(tiny_bundle)
    assert not Path(tiny_bundle.path("edge.onnx")).exists()
