import importlib.util
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from cloud.language.load import load_checkpoint
from tests.llava import make_llava, make_tokenizer
from thinwire.errors import BundleError, UnavailableError
from thinwire.nn.placement import Placement


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llava")
    tokenizer = make_tokenizer()
    make_llava(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_folder(folder):
    model, tokenizer = load_checkpoint(str(folder), None, Placement())
    assert not model.training
    assert model.dtype is torch.float32
    expected = make_llava(make_tokenizer()).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())
    assert tokenizer("what?").input_ids == make_tokenizer()("what?").input_ids


def test_half_precision(folder):
    assert load_checkpoint(str(folder), None, Placement("bfloat16"))[0].dtype is torch.bfloat16


@pytest.mark.parametrize(
    ("placement", "package"),
    [
        (Placement(bits=4), "bitsandbytes"),
        (Placement(bits=8), "bitsandbytes"),
        (Placement(device="auto"), "accelerate"),
    ],
    ids=repr,
)
def test_what_needs_a_package_that_is_not_there(folder, monkeypatch, placement, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == package else find(name, *rest))
    with pytest.raises(UnavailableError, match=f"pip install {package}"):
        load_checkpoint(str(folder), None, placement)


def test_what_is_no_checkpoint(tmp_path):
    with pytest.raises(BundleError, match="no Llava that can be read"):
        load_checkpoint(str(tmp_path), None, Placement())


def test_nothing_of_a_checkpoint_is_run_and_no_pickle_is_read(folder, tmp_path):
    for path in folder.iterdir():
        if path.suffix == ".json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    torch.save(make_llava(make_tokenizer()).state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(BundleError, match="safetensors"):
        load_checkpoint(str(tmp_path), None, Placement())


def test_a_model_of_another_kind_is_not_read_as_far_as_its_names_go(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "llava_next"}))
    with pytest.raises(BundleError, match="model_type: expected llava, got llava_next"):
        load_checkpoint(str(tmp_path), None, Placement())


def test_weights_that_are_missing_are_not_made_up(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(
        {name: value for name, value in weights.items() if "lm_head" not in name},
        tmp_path / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(BundleError, match=r"its weights lack lm_head\.weight"):
        load_checkpoint(str(tmp_path), None, Placement())
