"""From data to a bundle that answers questions: LLaVA, codec, reference, fronts. Stages go on where they stopped."""

import logging
from pathlib import Path
from typing import Any

from cloud.language.load import load_checkpoint
from offline.bundles.checkpoints import check_configuration, fetch_configuration, fetch_weights
from offline.bundles.folders import check_folders
from offline.bundles.own_output import check_codec, check_split_llava, perturbed
from offline.bundles.policies import check_search, check_work, with_policies
from offline.bundles.vision_tower import VisionTower, check_weights, cut_tower, plan_tower, read_config, read_tower
from offline.bundles.write import INSIDE, write_bundle
from offline.data.drawings import SIZE
from offline.data.drawn import drawn_images, joined, scenes
from offline.data.question_texts import words
from offline.data.questioned import QuestionedImages, load_vqa, split_select
from offline.export.bundle import export_bundle
from offline.measure.studies import check_merging
from offline.recipes.vqa_recipe import VqaRecipe
from offline.train.jscc import CodecTrainer, token_features
from offline.train.llava import train_llava
from offline.train.llava_model import build_llava, build_tokenizer, patch_size
from offline.train.packing import Segments
from offline.train.teachers import AnswerTeacher
from thinwire.bundle import Bundle, Language, checkpoint_digest
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.images import Preprocessing
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.nn.codec.encoder import JsccEncoder
from thinwire.nn.placement import CPU, Placement

log = logging.getLogger(__name__)
# Drawn pictures beyond those of the training of the LLaVA, which counts its own from 0.
FIRST_DRAWN = 10**9
FIRST_SELECTED = 4 * 10**9


def build_vqa(
    recipe: VqaRecipe,
    data: str,
    work: Path,
    output: Path,
    seed: int = 0,
    model: str | None = None,
    revision: str | None = None,
    placement: Placement = CPU,
) -> Bundle:
    """Train or take a LLaVA, train its codec, measure, and write a bundle.

    Args:
        recipe: what to make.
        data: a tar or a folder in easy-VQA's layout; see `offline.data.questioned.load_vqa`.
        work: folder of checkpoints and of the policy store; a second call with the same folder resumes.
        output: folder of the bundle.
        seed: of weights, pictures, searches and noise.
        model: a folder or an id on the hub, instead of the LLaVA that the recipe trains.
        revision: of the model on the hub.
        placement: of the model while it teaches and answers; a LLaVA that is trained uses a GPU where there is one.

    Raises:
        InvalidRequestError: neither the recipe nor ``model`` says which LLaVA, or recipe, data and folders do not
            fit each other.
        BundleError: the model is none that can be split, or the split is another function than the model's own.
        UnavailableError: the library that searches policies is not installed. All of this is told before anything is
            trained.
    """
    check_search(recipe.search)
    placement.check()
    check_folders(recipe.name, work, output)
    if model is None and revision is not None:
        raise InvalidRequestError(f"revision: expected a model that it is of, got {revision!r} alone")
    if recipe.llava is None and model is None:
        raise InvalidRequestError(f"the recipe {recipe.name} trains no model: name one")
    if model is not None:
        folder, language, preprocessing = _given(recipe, model, revision)
    else:
        assert recipe.llava is not None
        preprocessing = recipe.llava.preprocessing
        check_recipe_llava(recipe)
    check_work(work)
    train, select = split_select(load_vqa(data, preprocessing, "train"))
    _check_enough(recipe, train, select)
    wanted = recipe.select_pictures
    select = select.fewer_questions(wanted.questions)
    if wanted.scenes:
        # Questions about one shape alone would find policies that send one token, whatever else a picture shows.
        select = joined(select, scenes(wanted.scenes, FIRST_SELECTED, seed, preprocessing, wanted.questions))
    if model is None:
        assert recipe.llava is not None
        assert recipe.prompt is not None
        # Its tokeniser is there before it is.
        _check_questions(Segments(build_tokenizer(words()), recipe.prompt), train, select)
        _begin(work, train, select)
        folder, language = train_llava(recipe.llava, data, work, seed), Language(INSIDE, None, recipe.prompt)
    tower = read_tower(folder)
    teaching, tokenizer = load_checkpoint(str(folder), None, placement)
    segments = Segments(tokenizer, language.prompt)
    check_split_llava(teaching, tokenizer, tower, language.prompt, preprocessing)
    if model is not None:
        _check_questions(segments, train, select)
        _begin(work, train, select)
    pictures, drawn = train, recipe.codec_pictures.drawn
    if drawn:
        pictures = joined(train, drawn_images(drawn, FIRST_DRAWN, seed, preprocessing))
    encoder, decoder = _train_codec(recipe, teaching, segments, tower, pictures, preprocessing, work, seed, placement)
    # The measurements read it anew, and two of them may be more than there is room for.
    del teaching
    bundle = Bundle(
        name=recipe.name,
        task="vqa",
        model=tower.spec,
        split_layer=tower.tower.depth,
        depth=tower.tower.depth,
        width=tower.tower.width,
        patches=tower.tower.patches,
        prefix_tokens=tower.prefix_tokens,
        labels=(),
        preprocessing=preprocessing,
        merging=recipe.merging,
        codec=recipe.codec,
        files={},
        language=language,
        folder=output,
    )
    parts = {"backbone": tower.tower.module, "encoder": encoder, "decoder": decoder}
    bundle = write_bundle(bundle, parts, folder if model is None else None)
    return export_bundle(with_policies(bundle, select, recipe.search, work, seed, placement))


def _begin(work: Path, train: QuestionedImages, select: QuestionedImages) -> None:
    """What is done first once all is checked, so that whoever is refused finds nothing made."""
    work.mkdir(parents=True, exist_ok=True)
    log.info("%d images to train on, %d to select on", len(train), len(select))


def _given(recipe: VqaRecipe, model: str, revision: str | None) -> tuple[Path, Language, Preprocessing]:
    """Folder, name and preprocessing of a checkpoint, of which the weights are fetched last."""
    folder, commit = fetch_configuration(model, revision)
    prompt, preprocessing = check_configuration(folder, recipe.prompt)
    tower = plan_tower(read_config(folder)).tower
    check_merging(tower.depth, tower.patches, ("vision_feature_layer", "vision_config.patch_size"))
    check_codec(recipe.codec, tower.width)
    if commit is not None:
        fetch_weights(model, commit)
    check_weights(folder)
    # A commit, or what pins a folder.
    if commit is None:
        return folder, Language(str(folder), checkpoint_digest(folder), prompt), preprocessing
    return folder, Language(model, commit, prompt), preprocessing


def check_recipe_llava(recipe: VqaRecipe) -> None:
    """Check that the LLaVA that a recipe trains can be split, and that the split is the model's own function.

    Raises:
        BundleError: it cannot be built, or cannot be split, or is another function then.
        InvalidRequestError: recipe and model do not fit each other.
    """
    assert recipe.llava is not None
    assert recipe.prompt is not None
    size, vision = recipe.llava.preprocessing.size, recipe.llava.model["vision"]
    tokenizer = build_tokenizer(words())
    try:
        model = perturbed(build_llava(recipe.llava.model, tokenizer))
    # The recipe decides what is built, so anything that transformers and torch raise on odd values comes here.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(f"llava: no model can be built: {type(error).__name__}: {reason}") from None
    tower = cut_tower(model)
    if size != tower.tower.image_size:
        raise InvalidRequestError(f"preprocessing.size: expected the model's {tower.tower.image_size}, got {size}")
    # The pictures that are drawn for its training have one size.
    if size != SIZE or size % patch_size(model):
        raise InvalidRequestError(
            f"llava.vision: expected an image_size of {SIZE} and a patch_size that divides it, got {size} and "
            f"{vision.get('patch_size')}"
        )
    check_merging(tower.tower.depth, tower.tower.patches, ("llava.feature_layer", "llava.vision.patch_size"))
    check_codec(recipe.codec, tower.tower.width)
    check_split_llava(model, tokenizer, tower, recipe.prompt, recipe.llava.preprocessing)


def _check_enough(recipe: VqaRecipe, train: QuestionedImages, select: QuestionedImages) -> None:
    pictures, size = len(train) + recipe.codec_pictures.drawn, recipe.codec_training.batch_size
    if not len(train) or pictures < size:
        raise InvalidRequestError(
            f"codec_training.batch_size: expected at most the {pictures} images to train on, got {size}"
        )
    if not len(select) + recipe.select_pictures.scenes:
        raise InvalidRequestError(f"data: expected more images, got {len(train)}, none of which is of the select split")


def _check_questions(segments: Segments, *sets: QuestionedImages) -> None:
    for images in sets:
        for question in dict.fromkeys(images.questions):
            try:
                segments.question(question)
            except InvalidRequestError as error:
                raise InvalidRequestError(
                    f"data: expected questions in plain text, got {question[:80]!r}: {error}"
                ) from None


def _train_codec(
    recipe: VqaRecipe,
    model: Any,
    segments: Segments,
    tower: VisionTower,
    pictures: QuestionedImages,
    preprocessing: Preprocessing,
    work: Path,
    seed: int,
    placement: Placement,
) -> tuple[JsccEncoder, JsccDecoder]:
    tower.tower.module.to(placement.main_device)
    if recipe.codec_training.images is not None:
        pictures = pictures.even_sample(recipe.codec_training.images)
    features = token_features(tower.tower, tower.tower.depth, pictures.pixels, preprocessing, tower.prefix_tokens)
    tower.tower.module.cpu()
    teacher = AnswerTeacher(
        model,
        segments,
        pictures.rows,
        recipe.codec_pictures.questions,
        tower.prefix_tokens,
    )
    trainer = CodecTrainer(teacher, recipe.codec, recipe.codec_training, features, work / "codec.ckpt", seed)
    trainer.run()
    return trainer.encoder, trainer.decoder
