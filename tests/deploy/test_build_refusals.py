"""``thinwire bundle build`` on what cannot become a bundle: one line of error, status 1, before anything is trained."""

import json
import shutil
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import offline.bundles.build
from deploy.cli.main import main
from offline.bundles.folders import check_space
from offline.bundles.named_weights import load_file_or_id
from offline.recipes.recipe import recipe_path
from tests import recipes
from tests.parts import random_pixels
from thinwire.bundle import load_bundle
from thinwire.errors import InvalidRequestError
from thinwire.nn.backbone import build_backbone

KWARGS = {"img_size": 20, "patch_size": 4, "num_classes": 7, "embed_dim": 24, "depth": 2, "num_heads": 3}
MODEL = {"kwargs": KWARGS}
FURTHER = json.loads(recipe_path("cifar10").read_text())["backbone_training"]


def write_recipe(folder: Path, **changes) -> str:
    """A recipe that would train a tiny model; see `tests.recipes.write_recipe`."""
    content = json.loads(recipe_path("cifar10").read_text()) | {"name": "tiny", "model": MODEL, "split_layer": 2}
    content["preprocessing"] |= {"size": 20}
    content["backbone_training"] |= {"batch_size": 16}
    content["codec_training"] |= {"batch_size": 16}
    return recipes.write_recipe(folder, content, changes)


@pytest.fixture(name="data", scope="module")
def data_fixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for index, pixels in enumerate(random_pixels(70, seed=3)):
        (folder / "abcdefg"[index % 7]).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / "abcdefg"[index % 7] / f"{index}.png")
    return folder


@pytest.fixture(autouse=True)
def nothing_is_trained(monkeypatch):
    for name in ("train_backbone", "token_features", "CodecTrainer"):
        monkeypatch.setattr(offline.bundles.build, name, lambda *_, **__: pytest.fail("something was trained"))


def refused(capsys, folder, *arguments):
    """The line that a build ends with; it makes neither of its folders."""
    work, output = folder / "work", folder / "bundle"
    assert main(["bundle", "build", "--work", str(work), "--output", str(output), *arguments]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.strip().splitlines()
    assert not work.exists()
    assert not output.exists()
    return line


CHANGES = [
    (
        {"timm": "vit_relpos_small_patch16_224"},
        "expected a timm VisionTransformer or VisionTransformerDistilled or Eva, got VisionTransformerRelPos",
    ),
    ({"timm": "vit_nonsense"}, "model.timm: expected a name of timm.list_models(), got 'vit_nonsense'"),
    ({"timm": "hf-hub:nobody/nothing"}, "model.timm: expected a name of timm.list_models()"),
    ({"timm": "resnet18"}, "expected a timm VisionTransformer or VisionTransformerDistilled or Eva, got ResNet"),
    ({"timm": "vit_tiny_patch16_224.nonsense"}, "Invalid pretrained tag"),
    ({"kwargs": KWARGS | {"pretrained": True}}, "model.kwargs: expected what shapes the model alone, got pretrained"),
    ({"kwargs": KWARGS | {"nonsense": 1}}, "model.kwargs.nonsense is unknown"),
    ({"kwargs": KWARGS | {"num_heads": 5}}, "model.kwargs.num_heads: expected a divisor of the 24 of embed_dim, got 5"),
    ({"kwargs": KWARGS | {"num_heads": 0}}, "model.kwargs.num_heads must be at least 1, got 0"),
    (
        {"kwargs": {"img_size": 20, "num_heads": 7}},
        "model.kwargs.num_heads: expected a divisor of the 768 of embed_dim, got 7",
    ),
    ({"kwargs": KWARGS | {"embed_dim": 0}}, "model.kwargs.embed_dim must be at least 1, got 0"),
    ({"kwargs": KWARGS | {"depth": 0}}, "model.kwargs.depth must be at least 1, got 0"),
    ({"kwargs": KWARGS | {"depth": "2"}}, "model.kwargs.depth must be a whole number, got '2'"),
    (
        {"kwargs": KWARGS | {"patch_size": 0}},
        "model.kwargs.patch_size must be a whole number of at least 1, or two of them, got 0",
    ),
    ({"kwargs": KWARGS | {"patch_size": 20}}, "model.patch_size: expected two patches or more of an image, to be"),
    ({"kwargs": KWARGS | {"mlp_layer": "SwiGLU"}}, "model.kwargs.mlp_layer must be null, got 'SwiGLU'"),
    ({"kwargs": KWARGS | {"block_fn": "Block"}}, "model.kwargs.block_fn must be null, got 'Block'"),
    ({"kwargs": KWARGS | {"device": "cuda"}}, "model.kwargs.device must be null, got 'cuda'"),
    (
        {"kwargs": KWARGS | {"act_layer": "relux"}},
        "model.kwargs.act_layer must be the name of an activation that timm knows, got 'relux'",
    ),
    (
        {"kwargs": KWARGS | {"norm_layer": "norm"}},
        "model.kwargs.norm_layer must be the name of a norm that timm knows, got 'norm'",
    ),
    ({"kwargs": KWARGS | {"class_token": "no"}}, "model.kwargs.class_token must be a valid boolean, got 'no'"),
    (
        {"kwargs": KWARGS | {"patch_size": [4, 4, 4]}},
        "model.kwargs.patch_size must be a whole number of at least 1, or two of them, got [4, 4, 4]",
    ),
    ({"kwargs": KWARGS | {"mlp_ratio": True}}, "model.kwargs.mlp_ratio must be a number, got True"),
    ({"kwargs": KWARGS | {"drop_path_rate": 3}}, "model.kwargs.drop_path_rate must be at most 1, got 3"),
    (
        {"kwargs": KWARGS | {"class_token": False}},
        "model.kwargs: timm cannot build it: AssertionError: Token pooling needs the class token.",
    ),
    (
        {"timm": "vit_tiny_patch16_224", "kwargs": {"img_size": 32, "depth": 1, "num_heads": 5}},
        "model.kwargs: timm cannot build it: AssertionError: dim should be divisible by num_heads",
    ),
    (
        {"timm": "vit_tiny_patch16_224", "kwargs": {"img_size": 32, "depth": 0}},
        "model.kwargs.depth must be at least 1, got 0",
    ),
    ({"kwargs": KWARGS, "stem": [[8, 1], [8, 1]]}, "expected the stages of patches of 4"),
    ({"kwargs": KWARGS | {"img_size": [20, 24]}}, "model.img_size: expected a square, got 20 x 24"),
    ({"kwargs": KWARGS | {"patch_size": [4, 5]}}, "model.patch_size: expected a square, got 4 x 5"),
    ({"kwargs": KWARGS | {"img_size": 22}}, "model.img_size: expected a multiple of the patch size 4, got 22"),
    ({"kwargs": KWARGS | {"in_chans": 1}}, "model.in_chans: expected the 3 of RGB, got 1"),
    ({"kwargs": KWARGS | {"num_classes": 0}}, "model.kwargs.num_classes must be at least 1, got 0"),
    ({"kwargs": KWARGS | {"num_classes": 10}}, "model.num_classes: expected the 7 classes of "),
    (
        {"kwargs": KWARGS | {"global_pool": "none"}},
        "model.kwargs.global_pool must be 'avg', 'token', 'max', 'avgmax', 'map', 'prr' or 'token+avg', got 'none'",
    ),
    (
        {"timm": "vit_base_patch16_siglip_224", "kwargs": {"img_size": 32, "depth": 1, "embed_dim": 24}},
        "model.num_classes: expected a class at least, got 0",
    ),
    (
        {"kwargs": KWARGS | {"img_size": 24, "dynamic_img_size": True}},
        "preprocessing.size: expected the model's 24, got 20",
    ),
]


@pytest.mark.parametrize(("spec", "says"), CHANGES, ids=[says[:40] for _, says in CHANGES])
def test_a_model_that_cannot_be_split(capsys, tmp_path, data, spec, says):
    line = refused(capsys, tmp_path, "--recipe", write_recipe(tmp_path, model=spec), "--data", str(data))
    assert says in line


FIELDS = [
    ({"split_layer": 3}, "split_layer: expected at most the 2 layers of the model, got 3"),
    ({"split_layer": 0}, "split_layer must be at least 1, got 0"),
    ({"surprise": 1}, "surprise is unknown"),
    ({"codec": None}, "codec is missing"),
    ({"codec__hidden": "128"}, "codec.hidden must be a whole number, got '128'"),
    ({"codec__rates": [1, 99]}, "codec.rates must be at most max_symbols_per_token (16), got [1, 99]"),
    ({"codec__rates": []}, "codec.rates"),
    ({"codec__snr_db": [20, -5]}, "codec.snr_db: expected the lower first, from -30 to 60, got [20, -5]"),
    ({"codec__snr_db": [-500, 20]}, "codec.snr_db: expected the lower first, from -30 to 60, got [-500, 20]"),
    ({"codec__encoder": "nonsense"}, "no encoder 'nonsense' is installed"),
    ({"codec__encoder": "attention", "codec__hidden": 33}, "the codec cannot be computed"),
    ({"preprocessing__std": [1, 0, 1]}, "preprocessing.std.1 must be above 0, got 0"),
    ({"preprocessing__interpolation": "nearest"}, "preprocessing.interpolation must be 'bilinear' or 'bicubic'"),
    ({"merging__metric": "query"}, "merging.metric must be 'value', 'value_head', 'key' or 'key_mean'"),
    ({"merging__proportional_attention": 1}, "merging.proportional_attention must be a valid boolean, got 1"),
    (
        {"backbone_training__batch_size": 0},
        "backbone_training.batch_size must be at least 1, got 0",
    ),
    ({"backbone_training__batch_size": 5000}, "backbone_training.batch_size: expected at most the"),
    ({"codec_training__images": 1}, "images: expected a batch of"),
    ({"codec_training__batch_size": 5000}, "codec_training.batch_size: expected at most the"),
    ({"codec_training__learning_rate": 0}, "codec_training.learning_rate must be above 0, got 0"),
    ({"codec_training__channels": ["fog"]}, "got 'fog'"),
    ({"search__channels": ["fog:10"]}, "search.channels: "),
    ({"search__channels": ["awgn"]}, "search.channels: expected a channel such as awgn:10, got 'awgn'"),
    (
        {"search__channels": ["awgn:10", "awgn:10"]},
        "search.channels: expected different ones, got 'awgn:10' and 'awgn:10', which are one",
    ),
    (
        {"search__channels": ["rician:k_db=6,coherence=4:10", "awgn:5", "rician:coherence=4:1e1"]},
        "search.channels: expected different ones, got 'rician:k_db=6,coherence=4:10' and 'rician:coherence=4:1e1'",
    ),
    # Of one name in the store.
    ({"search__channels": ["awgn:10", "awgn:10.0000001"]}, "search.channels: expected different ones, got 'awgn:10'"),
    ({"search__max_loss": 0}, "search.max_loss must be above 0, got 0"),
    ({"search__evaluations": 1.5}, "search.evaluations must be a whole number, got"),
    ({"name": "../up"}, "name must be letters, digits"),
    ({"model": None}, "model is missing"),
    ({"backbone": "cifar10"}, "it must train a backbone, or name its weights or the bundle"),
    ({"backbone_training": None}, "it must train a backbone, or name its weights or the bundle"),
    ({"weights": "mine.safetensors"}, "weights: expected a safetensors file or hf-hub: and an id, got mine"),
    ({"backbone_training__epochs_dropped": 0, "backbone_training__epochs_whole": 0}, "epochs_whole: expected an epoch"),
    ({"further_training": [FURTHER | {"batch_size": 5000}]}, "further_training.batch_size: expected at most the"),
    ({"further_training": [FURTHER | {"layer_decay": 1.5}]}, "layer_decay must be at most 1, got 1.5"),
    ({"further_training": [FURTHER | {"smallest_crop": 0}]}, "smallest_crop must be above 0, got 0"),
    (
        {"weights": str(load_bundle("cifar10").path("backbone.safetensors")), "backbone_training": None}
        | {"further_training": [FURTHER]},
        "further_training: expected backbone_training before it",
    ),
    (
        {"weights": str(load_bundle("cifar10").path("backbone.safetensors")), "backbone_training": None}
        | {"head_images": 70},
        "head_images: expected backbone_training before it",
    ),
    ({"head_images": 0}, "head_images must be at least 1, got 0"),
    ({"backbone_training__head_learning_rate": 0}, "backbone_training.head_learning_rate must be above 0, got 0"),
    (
        {"weights": "nowhere.safetensors", "backbone_training": None},
        "weights: expected a safetensors file or hf-hub: and an id, got nowhere.safetensors",
    ),
    (
        {"weights": str(load_bundle("cifar10").path("backbone.safetensors")), "backbone_training": None},
        "weights: expected those of VisionTransformer in ",
    ),
    ({"weights": __file__, "backbone_training": None}, "weights: expected safetensors, got " + __file__),
    ({"backbone": "cifar10", "backbone_training": None}, "model: expected none beside backbone"),
    (
        {"backbone": "easy-vqa", "backbone_training": None, "model": None, "preprocessing": None},
        "backbone: expected a bundle that classifies, got easy-vqa (vqa)",
    ),
]


@pytest.mark.parametrize(("changes", "says"), FIELDS, ids=[says[:40] for _, says in FIELDS])
def test_a_recipe_with_a_wrong_field(capsys, tmp_path, data, changes, says):
    line = refused(capsys, tmp_path, "--recipe", write_recipe(tmp_path, **changes), "--data", str(data))
    assert says in line


def pickled(path, state):
    path = path.with_suffix(".pth")
    torch.save(state, path)
    return path


def saved(path, state):
    save_file(state, path)
    return path


def cut_off(path, state):
    save_file(state, path)
    path.write_bytes(path.read_bytes()[:-10])
    return path


def without(name):
    return lambda path, state: saved(path, {key: value for key, value in state.items() if key != name})


WEIGHTS = {
    "a pickle": (pickled, "weights: expected safetensors, got "),
    "no tensor": (lambda path, _: saved(path, {}), "expected 32 tensors, got none of "),
    "one less": (without("blocks.1.attn.qkv.weight"), "expected 32 tensors, got none of blocks.1.attn.qkv.weight"),
    "one more": (
        lambda path, state: saved(path, state | {"blocks.2.norm1.bias": torch.zeros(24)}),
        "expected the model's 32 tensors, got blocks.2.norm1.bias as well",
    ),
    "of another shape": (
        lambda path, state: saved(path, state | {"blocks.0.mlp.fc1.weight": torch.zeros(48, 24)}),
        "expected blocks.0.mlp.fc1.weight of (96, 24), got (48, 24)",
    ),
    "cut off": (cut_off, "weights: expected safetensors, got "),
}


@pytest.mark.parametrize(("write", "says"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights_that_are_not_the_models(capsys, tmp_path, data, write, says):
    state = build_backbone({"kwargs": KWARGS | {"num_classes": 3}}).state_dict()
    assert len(state) == 32
    path = write(tmp_path / "mine.safetensors", state)
    recipe = write_recipe(tmp_path, weights="hf-hub:nobody/nothing")
    line = refused(capsys, tmp_path, "--recipe", recipe, "--data", str(data), "--weights", str(path))
    assert says in line
    # Whatever a pickle holds, it was not run.
    assert "which may run code and is never read" in line or path.suffix != ".pth"


def test_a_head_of_other_classes_is_made_anew_only_where_it_is_trained(capsys, tmp_path, data):
    states = {classes: build_backbone({"kwargs": KWARGS | {"num_classes": classes}}).state_dict() for classes in (3, 7)}
    path = saved(tmp_path / "mine.safetensors", states[3])
    recipe = write_recipe(tmp_path, weights=str(path), backbone_training=None)
    line = refused(capsys, tmp_path, "--recipe", recipe, "--data", str(data))
    assert "expected head.weight of (7, 24), got (3, 24)" in line
    model = build_backbone({"kwargs": KWARGS})
    own, fresh = model.head.weight.clone(), []
    for stored in (states[3], {name: value for name, value in states[3].items() if not name.startswith("head.")}):
        load_file_or_id(str(saved(path, stored)), model, may_lack_head=True)
        fresh.append(model.head.weight.clone())
        assert torch.equal(model.blocks[1].mlp.fc1.weight, stored["blocks.1.mlp.fc1.weight"])
    # The same each time, or no training that begins with it could go on.
    assert torch.equal(*fresh)
    assert not torch.equal(fresh[0], own)
    load_file_or_id(str(saved(path, states[7])), model, may_lack_head=True)
    assert torch.equal(model.head.weight, states[7]["head.weight"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--recipe", "cifar10"), "weights: the recipe cifar10 begins with none"),
        (("--recipe", "cifar10-middle"), "weights: the recipe cifar10-middle begins with none"),
        (("--recipe", "easy-vqa"), "weights: the recipe easy-vqa begins with none"),
        (("--recipe", "photos", "--model", "test_vit"), "weights: expected a recipe that begins with some"),
        (("--random", "--model", "test_vit"), "weights: expected a recipe that begins with some"),
        (("--recipe", "photos"), "weights: expected a safetensors file or hf-hub: and an id, got mine"),
    ],
)
def test_weights_of_nothing_that_begins_with_any(capsys, tmp_path, data, options, says):
    assert says in refused(capsys, tmp_path, *options, "--data", str(data), "--weights", "mine.safetensors")


def test_a_recipe_that_begins_with_a_byte_order_mark(capsys, tmp_path, data):
    path = Path(write_recipe(tmp_path, codec__hidden=0))
    path.write_text(path.read_text(), encoding="utf-8-sig")
    line = refused(capsys, tmp_path, "--recipe", str(path), "--data", str(data))
    assert "codec.hidden must be at least 1, got 0" in line


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "[" * 100_000], ids=["empty", "cut", "list", "number", "deep"])
def test_what_is_no_recipe(capsys, tmp_path, content):
    path = tmp_path / "recipe.json"
    path.write_text(content)
    for name in (str(path), "nonsense"):
        assert "no readable recipe" in refused(capsys, tmp_path, "--recipe", name)


def spoil(data, folder, how):
    copied = shutil.copytree(data, folder / "data")
    how(copied)
    return str(copied)


DATA = {
    "an empty class": (lambda data: (data / "h").mkdir(), "expected class/image in {}, got 'h', which holds no images"),
    "one class": (
        lambda data: [shutil.rmtree(data / name) for name in "abcdef"],
        "data: expected two classes or more in {}, got g",
    ),
    "no image": (lambda data: [shutil.rmtree(data / name) for name in "abcdefg"], "no labelled images in {}"),
    "no folder": (shutil.rmtree, "no data at {}"),
    "no class": (
        lambda data: (
            [shutil.move(path, data) for path in data.glob("*/*.png")] + [shutil.rmtree(data / c) for c in "abcdefg"]
        ),
        "data: expected class/image in {}, got the folder itself as a class",
    ),
    "an image beside the classes": (
        lambda data: shutil.copy(data / "a" / "0.png", data / "0.png"),
        "got the folder itself as a class",
    ),
    "splits in folders": (
        lambda data: [(data / "train").mkdir(), shutil.move(data / "a", data / "train" / "a")],
        "got 'train', which holds no images",
    ),
    "a broken image": (lambda data: (data / "a" / "0.png").write_bytes(b"broken"), "a/0.png: 6 bytes that are not"),
    "too few": (
        lambda data: [path.unlink() for path in data.glob("*/*.png") if int(path.stem) > 13],
        "batch_size: expected at most the ",
    ),
}


@pytest.mark.parametrize(("how", "says"), DATA.values(), ids=DATA)
def test_data_that_cannot_be_learnt_from(capsys, tmp_path, data, how, says):
    spoilt = spoil(data, tmp_path, how)
    line = refused(capsys, tmp_path, "--recipe", write_recipe(tmp_path), "--data", spoilt)
    assert says.format(spoilt) in line


def test_a_tar_that_was_cut_off(capsys, tmp_path, data):
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        archive.add(data, ".")
    whole = (tmp_path / "data.tar").read_bytes()
    (tmp_path / "data.tar").write_bytes(whole[: len(whole) // 2])
    refused(capsys, tmp_path, "--recipe", write_recipe(tmp_path), "--data", str(tmp_path / "data.tar"))


def build(folder, data, work, output):
    recipe = write_recipe(folder)
    return main(
        ["bundle", "build", "--recipe", recipe, "--data", str(data), "--work", str(work), "--output", str(output)]
    )


def test_folders_that_cannot_be_written(capsys, tmp_path, data, tiny_bundle):
    (tmp_path / "file").write_text("")
    full = tmp_path / "full"
    full.mkdir()
    (full / "letter.txt").write_text("mine")
    other = shutil.copytree(tiny_bundle.folder, tmp_path / "other")
    manifest = json.loads((other / "bundle.json").read_text())
    (other / "bundle.json").write_text(json.dumps(manifest | {"name": "another"}))
    cases = [
        (tmp_path / "file", tmp_path / "bundle", "work: expected a folder that can be written"),
        (tmp_path / "work", tmp_path / "file" / "below", "output: expected a folder that can be written"),
        (tmp_path / "work", full, "output: expected an empty folder or the bundle's own"),
        (tmp_path / "work", other, "output: expected a folder for the bundle tiny"),
        (tmp_path / "work", tmp_path / "work", "work and output are one folder"),
    ]
    for work, output, says in cases:
        assert build(tmp_path, data, work, output) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert says in line
    assert (full / "letter.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["backbone-1.ckpt", "codec.ckpt", "policies.sqlite"])
def test_what_an_earlier_run_left_cannot_be_read(capsys, tmp_path, data, name):
    work = tmp_path / "work"
    work.mkdir()
    (work / name).write_bytes(b"PK\x03\x04 cut off, or of another program")
    assert build(tmp_path, data, work, tmp_path / "bundle") == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert name in line or "store" in line
    assert (work / name).read_bytes().startswith(b"PK")


def test_a_disk_that_is_full(tmp_path):
    with pytest.raises(InvalidRequestError, match="MiB free"):
        check_space(tmp_path / "not" / "there", 2**62)
    check_space(tmp_path, 0)


def test_all_that_is_right_is_trained(tmp_path, data):
    with pytest.raises(pytest.fail.Exception, match="something was trained"):
        build(tmp_path, data, tmp_path / "work", tmp_path / "bundle")
