"""``thinwire bundle build`` on LLaVAs that cannot become a bundle: one line, status 1, before anything is trained."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from transformers import LlavaNextConfig, SiglipVisionConfig

import offline.bundles.build_vqa
import offline.bundles.checkpoints
from deploy.cli.main import main
from offline.bundles.vision_tower import INDEX, SINGLE
from offline.recipes.recipe import recipe_path
from tests.llava import PROMPT, make_llava, make_tokenizer
from tests.offline.bundles.test_build_vqa import save_checkpoint, save_pictures

# As that of llava-1.5 reads.
TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


@pytest.fixture(name="whole", scope="module")
def whole_fixture(tmp_path_factory):
    folder = save_checkpoint(tmp_path_factory.mktemp("checkpoint"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture(name="checkpoint")
def checkpoint_fixture(whole, tmp_path):
    """A copy of a sound checkpoint to spoil."""
    return shutil.copytree(whole, tmp_path / "checkpoint")


@pytest.fixture(name="data", scope="module")
def data_fixture(tmp_path_factory):
    return save_pictures(tmp_path_factory.mktemp("data"), 60)


@pytest.fixture(autouse=True)
def nothing_is_trained(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("train_llava", "token_features", "CodecTrainer"):
        monkeypatch.setattr(offline.bundles.build_vqa, name, lambda *_: pytest.fail("something was trained"))


def build(folder, data, *arguments):
    given = ["--data", data, "--work", str(folder / "work"), "--output", str(folder / "bundle")]
    return main(["bundle", "build", *given, *arguments])


def refused(capsys, folder, data, *arguments):
    capsys.readouterr()
    assert build(folder, data, *arguments) == 1
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.strip().splitlines()
    assert not (folder / "bundle").exists()
    assert not (folder / "work").exists()
    return line


def change(folder, file, **changes):
    content = json.loads((folder / file).read_text())
    for name, value in changes.items():
        *path, last = name.split("__")
        inside = content
        for step in path:
            inside = inside[step]
        inside[last] = value
    (folder / file).write_text(json.dumps(content))


def config(**changes):
    return lambda folder: change(folder, "config.json", **changes)


def processor(**changes):
    return lambda folder: change(folder, "processor_config.json", **changes)


def lose(pattern):
    return lambda folder: [path.unlink() for path in folder.glob(pattern)]


def become_llava_next(folder):
    model = make_llava(make_tokenizer())
    parts = {"vision_config": model.config.vision_config, "text_config": model.config.text_config}
    LlavaNextConfig(**parts, image_token_index=4).save_pretrained(folder)


def become_siglip(folder):
    config(vision_config=SiglipVisionConfig(image_size=32, patch_size=8).to_dict())(folder)


def become_one_patch(folder):
    config(vision_config__patch_size=32)(folder)
    processor(patch_size=32)(folder)


# What the configuration alone shows, in a folder without weights.
FROM_CONFIGURATION = {
    become_llava_next: "model_type: expected llava, got llava_next",
    config(model_type="vipllava"): "model_type: expected llava, got vipllava",
    become_siglip: "cannot select 'default' of the tokens of a tower with 0 class tokens",
    lambda folder: (folder / "config.json").write_text("{"): "no model's configuration in",
    lose("config.json"): "no model's configuration in",
    config(vision_feature_layer=[-2, -1]): "expected one whole number as feature_layer, got [-2, -1]",
    config(vision_feature_layer=-9): "expected a feature_layer from 1 to 2 or from -2 to -1, got -9",
    config(vision_feature_select_strategy="cls"): "no model's configuration in",
    config(vision_config__num_channels=1): "num_channels: expected the 3 of RGB, got 1",
    config(vision_config__hidden_size=33): "The hidden size (33) is not a multiple",
    config(vision_config__hidden_act="nonsense"): "no clip tower can be built",
    config(vision_config__image_size=48): "crop_size: expected the vision model's 48, got 32",
    config(text_config__max_position_embeddings=16): "max_position_embeddings: expected more than the",
    config(image_token_index=5): "the tokeniser must make <image> the model's image token, 5",
    processor(patch_size=14): "processor's patch_size: expected the model's 8, got 14",
    processor(
        vision_feature_select_strategy="full"
    ): "processor's vision_feature_select_strategy: expected the model's",
    lose("processor_config.json"): "image processor: expected one in",
    processor(image_processor__do_resize=False): "image processor.do_resize must be True, got False",
    processor(image_processor__do_center_crop=None): "image processor.do_center_crop must be True, got None",
    processor(image_processor__rescale_factor=1.0): "image processor.rescale_factor must be 1/255, got 1.0",
    processor(
        image_processor__crop_size={"height": 32, "width": 48}
    ): "image processor.crop_size must be a square, got {'height': 32, 'width': 48}",
    processor(
        image_processor__size={"shortest_edge": 16}
    ): "image processor.size must be a shortest_edge of at least the crop's 32, got 16",
    processor(
        image_processor__size={"height": 32, "width": 32}
    ): "image processor.size must be a shortest_edge, got {'height': 32, 'width': 32}",
    processor(image_processor__resample=0): "image processor.resample must be 2 (bilinear) or 3 (bicubic)",
    processor(image_processor__image_std=[1, 0, 1]): "image processor.image_std.1 must be above 0, got 0",
    become_one_patch: "vision_config.patch_size: expected two patches or more of an image",
    lose("tokenizer*.json"): "tokenizer: expected one in",
    lose("chat_template.jinja"): "prompt: expected one in a recipe, or a chat template in",
    lambda folder: (folder / "chat_template.jinja").write_text("{{ 1/0 }}"): "prompt: expected one in a recipe",
    lambda folder: (folder / "chat_template.jinja").write_text("hello"): "the prompt must hold <image> once",
}


@pytest.mark.parametrize(("spoil", "says"), FROM_CONFIGURATION.items(), ids=FROM_CONFIGURATION.values())
def test_a_configuration_that_cannot_be_split_is_told_without_weights(capsys, tmp_path, checkpoint, data, spoil, says):
    spoil(checkpoint)
    lose("*.safetensors")(checkpoint)
    assert says in refused(capsys, tmp_path, data, "--model", str(checkpoint))


def cut(folder):
    whole = (folder / SINGLE).read_bytes()
    (folder / SINGLE).write_bytes(whole[: len(whole) // 2])


def pickled(folder):
    (folder / SINGLE).rename(folder / "pytorch_model.bin")


def lose_a_shard(folder):
    make_llava(make_tokenizer()).save_pretrained(folder, max_shard_size="20KB")
    (folder / SINGLE).unlink()
    sorted(folder.glob("model-*.safetensors"))[0].unlink()


def lose_a_tensor(name):
    def spoil(folder):
        weights = load_file(folder / SINGLE)
        (lost,) = (key for key in weights if key.endswith(name))
        del weights[lost]
        save_file(weights, folder / SINGLE, {"format": "pt"})

    return spoil


def become_nan(folder):
    weights = load_file(folder / SINGLE)
    save_file({name: one * float("nan") for name, one in weights.items()}, folder / SINGLE, {"format": "pt"})


WEIGHTS = {
    lose("*.safetensors"): f"weights: expected {SINGLE} or {INDEX} in",
    pickled: "got pytorch_model.bin, a pickle, which is never read",
    cut: f"weights: expected {SINGLE} or {INDEX} in",
    lose_a_shard: "files in",
    # Of these the library makes random numbers, and says so in a table among its warnings.
    lose_a_tensor("lm_head.weight"): "its weights lack lm_head.weight",
    lose_a_tensor("linear_1.bias"): "its weights lack model.multi_modal_projector.linear_1.bias",
    lose_a_tensor("pre_layrnorm.weight"): "the vision tower's weights lack pre_layrnorm.weight",
    become_nan: "got a difference of nan",
}


@pytest.mark.parametrize(("spoil", "says"), WEIGHTS.items(), ids=WEIGHTS.values())
def test_weights_that_are_not_all_there(capsys, tmp_path, checkpoint, data, spoil, says):
    spoil(checkpoint)
    assert says in refused(capsys, tmp_path, data, "--model", str(checkpoint))


def test_a_question_that_no_prompt_holds_is_told_before_anything_is_made(capsys, tmp_path, data, checkpoint):
    with tarfile.open(data) as archive:
        archive.extractall(tmp_path / "data", filter="data")
    listing = tmp_path / "data" / "train" / "questions.json"
    entries = json.loads(listing.read_text())
    listing.write_text(json.dumps([["what is <image> ?", "a", entry[2]] for entry in entries]))
    for arguments in (("--model", str(checkpoint)), ("--recipe", "easy-vqa")):
        line = refused(capsys, tmp_path, str(tmp_path / "data"), *arguments)
        assert "data: expected questions in plain text, got 'what is <image> ?'" in line


def test_a_model_on_the_hub_is_looked_at_before_its_weights_are_fetched(
    capsys, tmp_path, checkpoint, data, monkeypatch
):
    fetched = []

    def download(name, revision, allow_patterns):
        fetched.append((name, revision, tuple(allow_patterns)))
        return str(checkpoint)

    monkeypatch.setattr(offline.bundles.checkpoints, "snapshot_download", download)
    with pytest.raises(pytest.fail.Exception, match="something was trained"):
        build(tmp_path, data, "--model", "somebody/llava", "--revision", "main")
    assert [(name, revision) for name, revision, _ in fetched] == [
        # Once to tell a LLaVA from a vision transformer.
        ("somebody/llava", "main"),
        ("somebody/llava", "main"),
        # The snapshot is named by its commit.
        ("somebody/llava", checkpoint.name),
    ]
    assert "*.safetensors" not in fetched[0][2]
    assert fetched[2][2] == ("*.safetensors",)
    fetched.clear()
    become_llava_next(checkpoint)
    assert "got llava_next" in refused(capsys, tmp_path / "again", data, "--model", "somebody/llava")
    assert len(fetched) == 2


def test_a_checkpoint_is_asked_by_its_own_chat_template(checkpoint):
    assert offline.bundles.checkpoints.check_configuration(checkpoint, None)[0] == PROMPT
    other = "<image> {question}"
    assert offline.bundles.checkpoints.check_configuration(checkpoint, other)[0] == other
    # What the tokenizer puts in front is not asked for twice.
    (checkpoint / "chat_template.jinja").write_text("{{ bos_token }}" + TEMPLATE)
    assert offline.bundles.checkpoints.check_configuration(checkpoint, None)[0] == PROMPT


def test_names_that_lead_nowhere(capsys, tmp_path, data, checkpoint):
    for name in ("nobody/nothing", "no name/of a/repository", str(checkpoint / "config.json")):
        assert "neither a folder nor to be had from the hub" in refused(capsys, tmp_path, data, "--model", name)
    line = refused(capsys, tmp_path, data, "--recipe", "cifar10", "--model", str(checkpoint))
    assert f"--model is for one that answers questions, or for a vision transformer, which {checkpoint} is not" in line
    assert "trains no model: name one" in refused(capsys, tmp_path, data, "--recipe", "llava")
    assert "no data at nowhere.tar" in refused(capsys, tmp_path, "nowhere.tar", "--model", str(checkpoint))


def test_questions_that_cannot_be_asked(capsys, tmp_path, checkpoint, data):
    folder = Path(shutil.copytree(Path(data).parent / "train", tmp_path / "data" / "train")).parent
    entries = json.loads((folder / "train" / "questions.json").read_text())
    entries[5][0] = "what is in <image>?"
    (folder / "train" / "questions.json").write_text(json.dumps(entries))
    line = refused(capsys, tmp_path, str(folder), "--model", str(checkpoint))
    assert "data: expected questions in plain text, got 'what is in <image>?'" in line
    (folder / "train" / "questions.json").write_text(json.dumps(entries[:1]))
    line = refused(capsys, tmp_path, str(folder), "--model", str(checkpoint))
    assert "codec_training.batch_size: expected at most the " in line


RECIPES = [
    ({"preprocessing__size": 32}, "preprocessing.size: expected the model's 64, got 32"),
    ({"llava__vision__patch_size": 7}, "llava.vision: expected an image_size of 64 and a patch_size that divides it"),
    ({"llava__vision__image_size": 32, "preprocessing__size": 32}, "llava.vision: expected an image_size of 64"),
    ({"llava__vision__hidden_size": 130}, "llava: no model can be built"),
    ({"llava__vision__num_channels": 1}, "num_channels: expected the 3 of RGB, got 1"),
    ({"llava__text__num_attention_heads": 3}, "llava: no model can be built"),
    ({"llava__vision__patch_size": 64}, "llava.vision.patch_size: expected two patches or more of an image"),
    ({"llava__feature_layer": 9}, "expected a feature_layer from 1 to 4 or from -4 to -1, got 9"),
    ({"llava__feature_layer": "last"}, "llava.feature_layer must be a whole number, got 'last'"),
    ({"llava_training__warm_up": 9999}, "llava_training.warm_up: expected at most the 6000 steps, got 9999"),
    (
        {"llava_training__mixture__real_share": 2},
        "mixture.real_share must be at most 1, got 2",
    ),
    ({"prompt": "{question} <image>"}, "prompt: expected 'USER: <image>"),
    ({"codec_pictures__drawn": -1}, "codec_pictures.drawn must be at least 0, got -1"),
    ({"codec_training__batch_size": 20_000}, "codec_training.batch_size: expected at most the"),
    ({"search__channels": ["awgn:5", "awgn:5.0"]}, "search.channels: expected different ones, got 'awgn:5' and"),
    ({"nonsense": 1}, "nonsense is unknown"),
]


@pytest.mark.parametrize(("changes", "says"), RECIPES, ids=[says[:50] for _, says in RECIPES])
def test_a_recipe_with_a_wrong_field(capsys, tmp_path, data, changes, says):
    shutil.copy(recipe_path("easy-vqa"), tmp_path / "recipe.json")
    change(tmp_path, "recipe.json", **changes)
    assert says in refused(capsys, tmp_path, data, "--recipe", str(tmp_path / "recipe.json"))


def test_all_that_is_right_is_trained(tmp_path, data, whole):
    for arguments in (("--model", str(whole)), ("--recipe", "easy-vqa")):
        with pytest.raises(pytest.fail.Exception, match="something was trained"):
            build(tmp_path / arguments[1].replace("/", ""), data, *arguments)
