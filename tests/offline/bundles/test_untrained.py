"""Bundles of random weights, and the command that makes them."""

import json
import os
import re

import numpy as np
import pytest

from cloud.torch_classifier import TorchClassifier
from deploy.cli.main import main
from edge.torch_engine import TorchEngine
from policies.policy import Policy
from tests.offline.bundles.test_naming import write_timm
from thinwire.bundle import load_bundle
from thinwire.equalise import ReceivedTokens

BUILD = ["bundle", "build", "--random", "--labels", "4"]


def test_the_command_makes_a_bundle_that_device_and_cloud_load(tmp_path, capsys):
    folder = tmp_path / "bundle"
    main([*BUILD, "--model", "test_vit2", "--output", str(folder)])
    assert "untrained" in capsys.readouterr().out
    bundle = load_bundle(folder)
    assert bundle.labels == ("class 0", "class 1", "class 2", "class 3")
    assert bundle.reference is None
    pixels = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    encoded = TorchEngine.load(bundle).encode(pixels, Policy.create([0.5] * bundle.depth, 4), 10.0)
    (logits,) = TorchClassifier.load(bundle).classify_frames([ReceivedTokens(encoded.symbols, 0.1)])
    assert np.isfinite(logits).all()
    assert len(logits) == 4
    # The folder of an earlier build is written anew, one of other files is not.
    main([*BUILD, "--model", "test_vit2", "--output", str(folder)])
    assert load_bundle(folder).digest == bundle.digest


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--model", "resnet18"], "resnet18 cannot be split"),
        (["--model", "weights.pth"], "a pickle"),
        (["--labels", "0", "--model", "test_vit"], "labels: expected from 1 to 1,000,000 classes, got 0"),
        (["--labels", str(10**13), "--model", "test_vit"], "labels: expected from 1 to 1,000,000 classes, got 10000"),
        ([], "random: expected a model to build"),
        (["--model", "test_vit", "--architecture", "test_vit"], "architecture: expected a safetensors file"),
        # More than any memory holds.
        (["--model", "test_vit", "--size", "1600000"], "test_vit cannot be built: .* can't allocate memory"),
    ],
)
def test_what_cannot_be_built_is_one_line_and_leaves_nothing(tmp_path, capsys, options, told):
    assert main([*BUILD, *options, "--output", str(tmp_path / "bundle")]) == 1
    error = capsys.readouterr().err
    assert re.search(told, error)
    assert error.count("\n") == 1
    assert not (tmp_path / "bundle").exists()


def test_other_files_are_not_overwritten(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main([*BUILD, "--model", "test_vit", "--output", str(tmp_path)]) == 1
    assert "expected an empty folder or the bundle's own" in capsys.readouterr().err


def test_another_bundle_is_not_overwritten(tmp_path, capsys):
    (tmp_path / "bundle.json").write_text('{"name": "trained"}')
    assert main([*BUILD, "--model", "test_vit", "--output", str(tmp_path)]) == 1
    assert "expected a folder for the bundle test_vit, got" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["bundle.json"]


@pytest.mark.parametrize("output", ["file", "file/bundle", "n" * 300])
def test_a_folder_that_cannot_be_is_told_in_one_line(tmp_path, capsys, output):
    (tmp_path / "file").write_text("mine")
    assert main([*BUILD, "--model", "test_vit", "--output", str(tmp_path / output)]) == 1
    error = capsys.readouterr().err
    assert "output: expected a folder that can be written, got" in error
    assert error.count("\n") == 1


def test_weights_without_data_to_train_the_codec_on_are_told(tmp_path, capsys):
    model = tmp_path / "model"
    write_timm(model, num_classes=4)
    assert main(["bundle", "build", "--model", str(model), "--output", str(tmp_path / "bundle")]) == 1
    assert "data: expected pictures to train the codec on" in capsys.readouterr().err


def test_the_stored_table_is_printed(capsys):
    main(["bundle", "towers", "--json"])
    rows = json.loads(capsys.readouterr().out)
    members = {"name", "built", "equal", "merged", "exported", "preprocessing", "reason"}
    assert all(set(row) == members for row in rows)
    assert {name for row in rows for name, value in row.items() if isinstance(value, bool)} == {
        "built", "equal", "merged", "exported",
    }  # fmt: skip
