"""A bundle that answers questions, from pictures to fronts, around a LLaVA in a folder as the hub lays it out."""

import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPImageProcessor, LlavaProcessor

from cloud.answerer import Question
from cloud.torch_answerer import TorchAnswerer
from edge.torch_engine import TorchEngine
from offline.bundles.build_vqa import build_vqa
from offline.bundles.checkpoints import preprocessing_of
from offline.data.drawn import drawn_images, joined
from offline.data.questioned import load_vqa
from offline.measure import workers
from offline.measure.evaluator import BYPASS, Evaluator
from offline.recipes.recipe import SearchRecipe
from offline.recipes.vqa_recipe import CodecPictures, SelectPictures, load_vqa_recipe
from offline.train.jscc import CodecRecipe
from policies.fronts import Fronts
from policies.policy import Policy
from tests.llava import PROMPT, SIZE, make_llava, make_tokenizer
from thinwire.bundle import FRONT, checkpoint_digest, load_bundle
from thinwire.channels import Channel
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.images import Preprocessing

PREPARED = Preprocessing(SIZE, 0.5, "bicubic", (0.5, 0.4, 0.3), (0.25, 0.25, 0.25))


def save_checkpoint(folder: Path) -> Path:
    """A whole LLaVA checkpoint with random weights, its processor and tokenizer included."""
    tokenizer = make_tokenizer()
    images = CLIPImageProcessor(
        size={"shortest_edge": 2 * SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        image_mean=list(PREPARED.mean),
        image_std=list(PREPARED.std),
    )
    make_llava(tokenizer).save_pretrained(folder)
    LlavaProcessor(images, tokenizer, patch_size=8, vision_feature_select_strategy="default").save_pretrained(folder)
    return folder


def save_pictures(path: Path, count: int) -> str:
    """Drawn pictures in easy-VQA's layout."""
    drawn = drawn_images(count, 0, 5, replace(PREPARED, size=64, crop=1.0))
    folder = path / "train" / "images"
    folder.mkdir(parents=True)
    for number, pixels in enumerate(drawn.pixels):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    entries = [[q, a, int(n)] for q, a, n in zip(drawn.questions, drawn.answers, drawn.owners, strict=True)][::9]
    (path / "train" / "questions.json").write_text(json.dumps(entries))
    with tarfile.open(path / "pictures.tar", "w") as archive:
        archive.add(path / "train", "train")
    return str(path / "pictures.tar")


@pytest.fixture(scope="module")
def recipe():
    return replace(
        load_vqa_recipe("easy-vqa"),
        name="tiny",
        prompt=PROMPT,
        llava=None,
        codec=replace(load_vqa_recipe("easy-vqa").codec, hidden=16, max_symbols_per_token=4, rates=(2, 4)),
        codec_training=CodecRecipe(1, 16, 1e-3, 0.1, 0.0),
        codec_pictures=CodecPictures(drawn=16, questions=2),
        select_pictures=SelectPictures(scenes=4, questions=3),
        search=SearchRecipe(4, 20, 0.9, ("awgn:10",), (10.0,)),
    )


@contextmanager
def in_this_process(task, _):
    """Instead of processes, each of which would import everything again."""
    workers._meter = task.meter()
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture(scope="module", autouse=True)
def one_process():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("offline.measure.studies.pool", in_this_process)
        patch.setattr(workers, "_meter", None, raising=False)
        yield


@pytest.fixture(scope="module")
def built(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("build")
    checkpoint, data = save_checkpoint(folder / "checkpoint"), save_pictures(folder / "data", 60)
    bundle = build_vqa(recipe, data, folder / "work", folder / "bundle", model=str(checkpoint))
    return bundle, data, checkpoint


def test_a_checkpoint_in_a_folder_becomes_a_bundle(built):
    bundle, _, checkpoint = built
    loaded = load_bundle(bundle.folder)
    assert (loaded.task, loaded.labels, loaded.language.checkpoint) == ("vqa", (), str(checkpoint))
    assert loaded.language.revision == checkpoint_digest(checkpoint)
    assert (loaded.depth, loaded.split_layer, loaded.prefix_tokens, loaded.patches) == (1, 1, 0, 16)
    assert loaded.preprocessing == PREPARED
    assert loaded.reference is not None
    assert set(loaded.files) == {"backbone.safetensors", "encoder.safetensors", "decoder.safetensors"}
    assert Fronts.load(loaded.path(FRONT), loaded.digest).policies


def test_a_second_build_measures_nothing_twice(built, recipe, tmp_path, monkeypatch):
    bundle, data, checkpoint = built
    monkeypatch.setattr("offline.train.jscc.CodecTrainer._loss", None)
    monkeypatch.setattr("offline.measure.meter.PolicyMeter.measure", None)
    again = build_vqa(recipe, data, bundle.folder.parent / "work", tmp_path / "again", model=str(checkpoint))
    assert again.digest == bundle.digest
    assert (tmp_path / "again" / FRONT).read_bytes() == bundle.path(FRONT).read_bytes()


def test_unmerged_and_without_a_channel_answers_are_the_whole_models_own(built):
    bundle, data, _ = built
    images = load_vqa(data, bundle.preprocessing, "train").take(np.arange(12))
    answerer = TorchAnswerer.load(bundle)
    evaluator = Evaluator.load(bundle, images)
    measured = evaluator.measure_policy(Policy.unmerged(1, 4), BYPASS, 0)
    views = answerer.view_images(images.pixels)
    asked = [Question(views[owner], question) for owner, question in zip(images.owners, images.questions, strict=True)]
    right = [0] * 12
    for owner, said, answer in zip(images.owners, answerer.answer(asked), images.answers, strict=True):
        right[owner] += said.text == answer
    assert measured.right.tolist() == right
    assert measured.asked.tolist() == [len(row) for row in images.rows]


def test_errors_are_clustered_by_image(built):
    bundle, data, _ = built
    images = load_vqa(data, bundle.preprocessing, "train").take(np.arange(12))
    evaluator = Evaluator(bundle, TorchEngine.load(bundle), Evaluator.load(bundle, images).judge, images)
    measured = evaluator.measure_policy(Policy.unmerged(1, 4), Channel("awgn", 5.0), 3)
    total = measured.asked.sum()
    accuracy = measured.right.sum() / total
    by_hand = sum((r - accuracy * a) ** 2 for r, a in zip(measured.right, measured.asked, strict=True)) ** 0.5 / total
    assert measured.accuracy == pytest.approx(accuracy)
    assert measured.accuracy_se == pytest.approx(by_hand)


def test_a_checkpoint_that_changed_since_is_not_served(built):
    bundle, _, checkpoint = built
    config = checkpoint / "config.json"
    before = config.read_text()
    config.write_text(before + " ")
    try:
        with pytest.raises(BundleError, match="missing, or was altered"):
            TorchAnswerer.load(bundle)
    finally:
        config.write_text(before)


def test_a_bundle_in_its_own_work_folder_would_overwrite_its_model(tmp_path):
    with pytest.raises(InvalidRequestError, match="work and output are one folder"):
        build_vqa(load_vqa_recipe("easy-vqa"), "nothing.tar", tmp_path, tmp_path)


CHANGES = [
    {"size": {"height": 2 * SIZE, "width": SIZE}},
    {"do_rescale": False},
    {"rescale_factor": 1.0},
    {"crop_size": {"height": SIZE, "width": 2 * SIZE}},
]


def test_the_processor_says_how_images_are_prepared(tmp_path):
    folder = save_checkpoint(tmp_path / "whole")
    assert preprocessing_of(folder) == PREPARED
    with pytest.raises(BundleError, match="image processor: expected one in"):
        preprocessing_of(tmp_path)
    (path,) = (path for path in folder.glob("*processor_config.json"))
    whole = json.loads(path.read_text())
    for change in CHANGES:
        content = json.loads(json.dumps(whole))
        content.get("image_processor", content).update(change)
        path.write_text(json.dumps(content))
        with pytest.raises(BundleError, match=r"image processor\.\w+ must be .*, got "):
            preprocessing_of(folder)


def test_a_recipe_without_a_model_needs_one_named(recipe, tmp_path):
    with pytest.raises(InvalidRequestError, match="trains no model: name one"):
        build_vqa(recipe, "nothing.tar", tmp_path / "work", tmp_path / "bundle")


def test_what_is_neither_a_folder_nor_on_the_hub_is_told(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BundleError, match="neither a folder nor to be had from the hub"):
        build_vqa(recipe, "nothing.tar", tmp_path / "work", tmp_path / "bundle", model="nobody/nothing")


def test_joined_images_keep_their_questions():
    one, other = drawn_images(2, 0, 1, PREPARED), drawn_images(3, 7, 1, PREPARED)
    both = joined(one, other)
    assert both.rows == [*one.rows, *other.rows]
    assert len(set(both.names)) == len(both) == 5
