"""Training of a small LLaVA: it learns, it resumes to the same weights, and transformers reads the result."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from offline.data.drawings import draw
from offline.data.question_texts import easy_questions, harder_questions, kind_of
from offline.data.questioned import QuestionedImages
from offline.measure.llava_report import question_only, report, visual_tokens
from offline.recipes.vqa_recipe import load_vqa_recipe
from offline.train import llava as module
from offline.train.llava import LlavaRecipe, LlavaTrainer, LlavaTraining
from offline.train.llava_batches import IGNORED, Mixture, choose, make_batch, patch_labels, random_subsets
from offline.train.llava_model import PROMPT, save_llava
from offline.train.packing import Segments
from tests.offline.train.test_packing import PREPROCESSING, SPEC
from thinwire.errors import InvalidRequestError
from thinwire.images import normalise

MIXTURE = Mixture(
    images=8, questions=4, real_share=0.3, several_share=0.3, several_after=2, plain_share=0.5, subset_share=0.5
)
RECIPE = LlavaRecipe(
    name="tiny",
    model=SPEC | {"feature_layer": -1},
    preprocessing=PREPROCESSING,
    training=LlavaTraining(steps=6, warm_up=2, learning_rate=3e-3, weight_decay=0.01, patch_loss=0.5, mixture=MIXTURE),
)


def drawn_images(count: int, seed: int) -> QuestionedImages:
    drawings = [draw(seed, index, plain=True) for index in range(count)]
    asked = [(index, one) for index, drawing in enumerate(drawings) for one in easy_questions(drawing.scene)[::-5]]
    return QuestionedImages(
        tuple(f"{seed}/{index}.png" for index in range(count)),
        np.stack([drawing.pixels for drawing in drawings]),
        tuple(one.text for _, one in asked),
        tuple(one.answer for _, one in asked),
        np.array([index for index, _ in asked]),
    )


def trainer(checkpoint, recipe=RECIPE):
    return LlavaTrainer(recipe, drawn_images(12, 100), drawn_images(6, 101), checkpoint, seed=3)


def test_a_run_that_was_cut_off_ends_with_the_weights_of_one_that_was_not(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    whole = trainer(tmp_path / "whole.ckpt")
    whole.run()

    class CutOff(Exception):  # noqa: N818
        """Stands for a kill after the third step."""

    cut = trainer(tmp_path / "cut.ckpt")
    save = cut.state.save

    def save_and_die(step):
        save(step)
        if step == 3:
            raise CutOff

    monkeypatch.setattr(cut.state, "save", save_and_die)
    with pytest.raises(CutOff):
        cut.run()
    resumed = trainer(tmp_path / "cut.ckpt")
    resumed.run()
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, rtol=0, atol=1e-6)


def test_it_learns(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STEPS_BETWEEN_LOGS", 1000)
    mixture = replace(MIXTURE, images=16, several_share=0.0, real_share=0.0, subset_share=0.0)
    training = replace(RECIPE.training, steps=60, warm_up=10, learning_rate=1e-2, mixture=mixture)
    run = trainer(tmp_path / "run.ckpt", replace(RECIPE, training=training))
    batch = make_batch(mixture, run.train, run.segments, 16, 99, 0)
    with torch.inference_mode():
        before = [float(loss) for loss in run.losses(batch)]
    run.run()
    with torch.inference_mode():
        after = [float(loss) for loss in run.losses(batch)]
    # It has learnt at least which answers a question can have, and that most patches are ground.
    assert after[0] < 0.45 * before[0]
    assert after[1] < 0.45 * before[1]


def test_transformers_reads_and_runs_what_is_saved(tmp_path):
    run = trainer(tmp_path / "run.ckpt")
    model = run.model.eval()
    save_llava(model, run.tokenizer, PREPROCESSING, tmp_path / "llava")
    read = LlavaForConditionalGeneration.from_pretrained(tmp_path / "llava").eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "llava")
    pixels = draw(0, 0).pixels
    text = PROMPT.format(question="is there a circle?")
    inputs = processor(images=Image.fromarray(pixels), text=text, return_tensors="pt")
    np.testing.assert_allclose(inputs["pixel_values"][0], normalise(pixels, PREPROCESSING), atol=1e-5)
    assert int((inputs["input_ids"] == read.config.image_token_id).sum()) == 16
    with torch.inference_mode():
        answer = read.generate(**inputs, max_new_tokens=5, do_sample=False)
        expected = model.generate(**inputs, max_new_tokens=5, do_sample=False)
    assert answer.tolist() == expected.tolist()
    torch.testing.assert_close(
        visual_tokens(read, pixels[None], PREPROCESSING), visual_tokens(model, pixels[None], PREPROCESSING)
    )
    assert read.lm_head.weight is read.get_input_embeddings().weight


def test_a_batch_depends_on_its_seed_and_step_alone():
    real, segments = drawn_images(5, 100), Segments(module.build_tokenizer(module.words()))
    batches = [make_batch(MIXTURE, real, segments, 16, 1, step) for step in (4, 5, 4)]
    assert (batches[0].pixels == batches[2].pixels).all()
    assert torch.equal(batches[0].packed.ids, batches[2].packed.ids)
    assert not (batches[0].pixels == batches[1].pixels).all()
    # No two pictures of a run are the same one.
    drawn = [image.tobytes() for batch in batches[:2] for image in batch.pixels[(batch.kinds[:, 0] != IGNORED).numpy()]]
    assert len(set(drawn)) == len(drawn) > 0


def test_scenes_of_several_shapes_come_by_and_by():
    real, segments = drawn_images(5, 100), Segments(module.build_tokenizer(module.words()))
    mixture = replace(MIXTURE, images=60, real_share=0.0, several_share=1.0, several_after=40)

    def several(step):
        batch = make_batch(mixture, real, segments, 16, 1, step)
        return np.mean([len(set(of_image[of_image > 0].tolist())) > 1 for of_image in batch.colours])

    assert several(0) == 0
    assert 0.2 < several(20) < 0.7
    assert several(40) > 0.8


def test_patches_are_labelled_with_what_covers_them():
    for index in range(30):
        drawing = draw(8, index, several=True, plain=True)
        kinds, colours = patch_labels(drawing, 8)
        for patch, (kind, colour) in enumerate(zip(kinds, colours, strict=True)):
            top, left = patch // 8 * 8, patch % 8 * 8
            owners = drawing.owners[top : top + 8, left : left + 8]
            covered = {number: int((owners == number).sum()) for number in np.unique(owners[owners > 0]).tolist()}
            if not covered:
                assert (kind, colour) == (0, 0)
            elif max(covered.values()) < 3:
                assert (kind, colour) == (IGNORED, IGNORED)
            else:
                most = [drawing.scene.shapes[n - 1] for n, count in covered.items() if count == max(covered.values())]
                assert any(
                    (module.KINDS[kind - 1], list(module.COLOURS)[colour - 1]) == (one.kind, one.colour) for one in most
                )


def test_questions_are_chosen_evenly_over_kinds_and_answers():
    scene = draw(9, 0, several=True).scene
    asked = easy_questions(scene) + harder_questions(scene)
    generator = np.random.default_rng(0)
    chosen = [one for _ in range(300) for one in choose(asked, 8, generator)]
    assert len(chosen) == 2400
    groups = {(one.kind, one.answer == "yes") for one in asked}
    for group in groups:
        share = sum((one.kind, one.answer == "yes") == group for one in chosen) / len(chosen)
        assert share == pytest.approx(1 / len(groups), rel=0.3)


def test_random_subsets_are_in_raster_order_and_of_every_size():
    generator = np.random.default_rng(0)
    subsets = [random_subsets(3, 64, generator) for _ in range(300)]
    for subset in subsets:
        assert (subset.diff(dim=1) > 0).all()
        assert 0 <= subset.min() <= subset.max() < 64
    counts = [subset.shape[1] for subset in subsets]
    assert min(counts) == 4
    assert max(counts) > 60
    # Log-uniform: half of them under the geometric mean of the ends.
    assert np.mean(np.array(counts) < 16) == pytest.approx(0.5, abs=0.1)
    assert not torch.equal(subsets[0][0], subsets[0][1])


def test_the_report_stands_beside_what_needs_no_image(tmp_path):
    run = trainer(tmp_path / "run.ckpt")
    train, asked = drawn_images(40, 100), drawn_images(10, 101)
    measured = report(run.model.eval(), run.tokenizer, PREPROCESSING, train, asked)
    assert measured.questions == len(asked.questions)
    assert set(measured.by_kind) == {"presence", "absence", "colour", "shape"}
    assert measured.question_only == question_only(train, asked)
    kinds = [kind_of(question) for question in asked.questions]
    mean = sum(measured.by_kind[kind] for kind in kinds) / len(kinds)
    assert measured.accuracy == pytest.approx(mean)


def test_question_only_takes_the_most_frequent_answer_of_each_text():
    def images(pairs):
        return QuestionedImages(
            ("a",), np.zeros((1, 8, 8, 3), np.uint8), *zip(*pairs, strict=True), np.zeros(len(pairs))
        )

    train = images([("a?", "yes"), ("a?", "no"), ("a?", "no"), ("b?", "red"), ("c?", "no")])
    assert question_only(train, images([("a?", "no"), ("a?", "yes"), ("b?", "red"), ("new?", "no")])) == 0.75


def test_the_recipe_that_comes_with_the_package_makes_a_small_model_of_64_tokens():
    recipe = load_vqa_recipe("easy-vqa").llava
    model = module.build_llava(recipe.model, module.build_tokenizer(module.words()))
    assert 4 * sum(parameter.numel() for parameter in model.parameters()) < 12e6
    pixels = np.zeros((1, recipe.preprocessing.size, recipe.preprocessing.size, 3), np.uint8)
    assert visual_tokens(model.eval(), pixels, recipe.preprocessing).shape[1] == 64


@pytest.mark.parametrize(
    "content", ["no json", "{}", json.dumps({"name": "x", "preprocessing": {}, "llava_training": {}})]
)
def test_a_recipe_that_lacks_a_field_is_refused(tmp_path, content):
    (tmp_path / "recipe.json").write_text(content)
    with pytest.raises(InvalidRequestError, match="no readable recipe"):
        load_vqa_recipe(str(tmp_path / "recipe.json"))
