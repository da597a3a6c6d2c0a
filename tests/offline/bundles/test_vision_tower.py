"""The tower of a LLaVA, in memory and on disk, where nothing of the language model is read."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, SiglipVisionConfig

from offline.bundles.vision_tower import INDEX, SINGLE, cut_tower, read_tower
from tests.towers import CONFIG, make_vision_model
from thinwire.errors import BundleError
from thinwire.nn.towers.registry import build_tower


def make_llava(**options):
    torch.manual_seed(0)
    text = LlamaConfig(
        vocab_size=50, hidden_size=24, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0
    )
    config = LlavaConfig(
        **{"vision_config": CLIPVisionConfig(**CONFIG), "text_config": text, "image_token_index": 5} | options
    )
    return LlavaForConditionalGeneration(config).eval()


@pytest.fixture(name="llava", scope="module")
def llava_fixture():
    return make_llava()


@pytest.fixture(name="folder")
def folder_fixture(llava, tmp_path):
    """Saved in shards, those with nothing of the tower deleted."""
    llava.save_pretrained(tmp_path, max_shard_size="20KB")
    shards = json.loads((tmp_path / INDEX).read_text())["weight_map"]
    needed = {file for name, file in shards.items() if "vision_tower" in name}
    for file in set(shards.values()) - needed:
        (tmp_path / file).unlink()
    assert needed < set(shards.values())
    return tmp_path


def check(cut, llava, feature_layer):
    assert cut.spec["feature_layer"] == feature_layer
    x = torch.rand(2, 3, 20, 20)
    # What the manifest says of it, once through JSON, takes the weights as they are.
    tower = build_tower(json.loads(json.dumps(cut.spec)))
    tower.module.load_state_dict(cut.tower.module.state_dict())
    tower.module.eval()
    with torch.inference_mode():
        theirs = llava.model.vision_tower(x, output_hidden_states=True).hidden_states[feature_layer]
        ours = tower.embed(x)
        for layer in range(tower.depth):
            ours = tower.mlp(layer, tower.attend(layer, ours, None).output)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("of", ["generating", "inner", "vision model"])
def test_from_memory(llava, of):
    model = {"generating": llava, "inner": llava.model, "vision model": llava.model.vision_tower}[of]
    for feature_layer in (-1, -2, 3):
        check(cut_tower(model, feature_layer), llava, feature_layer)
    cut = cut_tower(model)
    assert cut.spec["feature_layer"] == (-1 if of == "vision model" else -2)
    # A LLaVA discards the class token, unless it says otherwise.
    assert cut.prefix_tokens == (1 if of == "vision model" else 0)


def test_from_a_folder_without_the_language_model(llava, folder):
    cut = read_tower(folder)
    check(cut, llava, -2)
    assert cut.prefix_tokens == 0
    check(read_tower(folder, 1), llava, 1)


@pytest.mark.parametrize("prefix", ["vision_tower.", "vision_tower.vision_model.", "model.vision_tower."])
def test_from_one_file_under_any_of_the_names_in_use(llava, tmp_path, prefix):
    llava.config.save_pretrained(tmp_path)
    weights = {prefix + name: value for name, value in llava.model.vision_tower.state_dict().items()}
    # Alike in all but the prefix: it must not be taken.
    weights |= {f"language_model.{name}": value + 1 for name, value in llava.model.vision_tower.state_dict().items()}
    save_file(weights, tmp_path / SINGLE)
    check(read_tower(tmp_path), llava, -2)


def test_weights_in_half_precision(llava, tmp_path):
    llava.config.save_pretrained(tmp_path)
    state = llava.model.vision_tower.state_dict()
    save_file({f"vision_tower.{name}": value.half() for name, value in state.items()}, tmp_path / SINGLE)
    assert read_tower(tmp_path).tower.module.state_dict()["embeddings.class_embedding"].dtype == torch.float32


def test_what_is_selected_decides_what_is_sent():
    llava = make_llava(vision_feature_select_strategy="full", vision_feature_layer=-1)
    cut = cut_tower(llava)
    assert (cut.prefix_tokens, cut.spec["feature_layer"], cut.tower.depth) == (1, -1, 4)
    siglip = make_llava(vision_config=SiglipVisionConfig(**CONFIG), vision_feature_select_strategy="full")
    assert cut_tower(siglip).prefix_tokens == 0
    # transformers would drop the first patch.
    with pytest.raises(BundleError, match="cannot select 'default' of the tokens of a tower with 0 class tokens"):
        cut_tower(make_llava(vision_config=SiglipVisionConfig(**CONFIG)))


def test_several_feature_layers_are_refused():
    with pytest.raises(BundleError, match=r"expected one whole number as feature_layer, got \[-2, -3\]"):
        cut_tower(make_llava(vision_feature_layer=[-2, -3]))


def test_another_vision_model_is_refused(llava):
    with pytest.raises(BundleError, match="of clip_vision_model or siglip_vision_model, got llama"):
        cut_tower(llava.model.language_model)


def damage_index(folder):
    (folder / INDEX).write_text("[]")


def lead_outside(folder):
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["vision_tower.pre_layrnorm.weight"] = "../shard.safetensors"
    (folder / INDEX).write_text(json.dumps(index))


def lose_shard(folder):
    file = json.loads((folder / INDEX).read_text())["weight_map"]["vision_tower.pre_layrnorm.weight"]
    (folder / file).unlink()


def cut_shard(folder):
    file = json.loads((folder / INDEX).read_text())["weight_map"]["vision_tower.pre_layrnorm.weight"]
    (folder / file).write_bytes((folder / file).read_bytes()[:-8])


def lose_tensor(folder):
    index = json.loads((folder / INDEX).read_text())
    del index["weight_map"]["vision_tower.pre_layrnorm.weight"]
    (folder / INDEX).write_text(json.dumps(index))


def widen(folder):
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["intermediate_size"] = 80
    (folder / "config.json").write_text(json.dumps(config))


DAMAGES = {
    damage_index: "cannot read the weights",
    lead_outside: r"'\.\./shard.safetensors' is no file of the folder",
    lose_shard: "cannot read the weights",
    cut_shard: "cannot read the weights",
    lose_tensor: r"weights lack pre_layrnorm\.weight",
    widen: r"expected encoder\.layers\.0\.mlp\.fc1\.weight of \(80, 24\), got \(40, 24\)",
    lambda folder: (folder / INDEX).unlink(): "cannot read the weights",
    lambda folder: (folder / "config.json").write_text("{}"): "no model's configuration",
    lambda folder: shutil.rmtree(folder): "no model's configuration",
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.items())
def test_a_damaged_folder(folder, damage, message):
    damage(folder)
    with pytest.raises(BundleError, match=message):
        read_tower(folder)


def test_a_vision_model_alone_from_disk(tmp_path):
    model = make_vision_model("siglip")
    model.save_pretrained(tmp_path)
    cut = read_tower(tmp_path, 2)
    for name, value in cut.tower.module.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])
