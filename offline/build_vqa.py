"""From data to a bundle that answers questions: LLaVA, codec, reference, fronts. Stages go on where they stopped."""

import logging
from pathlib import Path

from cloud.decoder import JsccDecoder
from cloud.language.load import load_checkpoint
from cloud.language.placement import CPU, Placement
from edge.torch_engine.encoder import JsccEncoder
from offline.checkpoints import fetch_checkpoint, preprocessing_of
from offline.drawn_data import drawn_images, joined, scenes
from offline.fronts import with_policies
from offline.onnx_export.bundle import export_bundle
from offline.packing import Segments
from offline.search import Plan
from offline.teachers import AnswerTeacher
from offline.train_codec import CodecTrainer, token_features
from offline.train_llava import train_llava
from offline.vision_tower import VisionTower, read_tower
from offline.vqa_bundles import INSIDE, write_vqa_bundle
from offline.vqa_data import QuestionedImages, load_vqa, split_select
from offline.vqa_recipe import VqaRecipe
from thinwire.bundle import Bundle, Language, checkpoint_digest
from thinwire.errors import InvalidRequestError
from thinwire.images import Preprocessing

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
        data: a tar or a folder in easy-VQA's layout; see `offline.vqa_data.load_vqa`.
        work: folder of checkpoints and of the policy store; a second call with the same folder resumes.
        output: folder of the bundle.
        seed: of weights, pictures, searches and noise.
        model: a folder or an id on the hub, instead of the LLaVA that the recipe trains.
        revision: of the model on the hub.
        placement: of the model while it teaches and answers; a LLaVA that is trained uses a GPU where there is one.

    Raises:
        InvalidRequestError: neither the recipe nor ``model`` says which LLaVA.
        BundleError: the model is none that can be split.
        UnavailableError: the library that searches policies is not installed.
    """
    Plan(max_loss=recipe.search.max_loss).check()
    if model is None and (work / INSIDE).resolve() == (output / INSIDE).resolve():
        raise InvalidRequestError(f"work and output are one folder, {output}: the bundle would overwrite its model")
    work.mkdir(parents=True, exist_ok=True)
    if model is not None:
        folder, commit = fetch_checkpoint(model, revision)
        # A commit, or what pins a folder.
        language = (
            Language(str(folder), checkpoint_digest(folder), recipe.prompt)
            if commit is None
            else Language(model, commit, recipe.prompt)
        )
        preprocessing = preprocessing_of(folder)
    elif recipe.llava is not None:
        preprocessing = recipe.llava.preprocessing
        folder, language = train_llava(recipe.llava, data, work, seed), Language(INSIDE, None, recipe.prompt)
    else:
        raise InvalidRequestError(f"the recipe {recipe.name} trains no model: name one")
    train, select = split_select(load_vqa(data, preprocessing, "train"))
    wanted = recipe.select_pictures
    select = select.fewer_questions(wanted.questions)
    if wanted.scenes:
        # Questions about one shape alone would find policies that send one token, whatever else a picture shows.
        select = joined(select, scenes(wanted.scenes, FIRST_SELECTED, seed, preprocessing, wanted.questions))
    log.info("%d images to train on, %d to select on", len(train), len(select))
    tower = read_tower(folder)
    pictures, drawn = train, recipe.codec_pictures.drawn
    if drawn:
        pictures = joined(train, drawn_images(drawn, FIRST_DRAWN, seed, preprocessing))
    encoder, decoder = _train_codec(recipe, folder, tower, pictures, preprocessing, language, work, seed, placement)
    bundle = write_vqa_bundle(
        recipe.name, tower, language, preprocessing, recipe.merging, recipe.codec, encoder, decoder, output,
        checkpoint=None if model is not None else folder,
    )  # fmt: skip
    return export_bundle(with_policies(bundle, select, recipe.search, work, seed, placement))


def _train_codec(
    recipe: VqaRecipe,
    folder: Path,
    tower: VisionTower,
    pictures: QuestionedImages,
    preprocessing: Preprocessing,
    language: Language,
    work: Path,
    seed: int,
    placement: Placement,
) -> tuple[JsccEncoder, JsccDecoder]:
    model, tokenizer = load_checkpoint(str(folder), None, placement)
    tower.tower.module.to(placement.main_device)
    features = token_features(tower.tower, tower.tower.depth, pictures.pixels, preprocessing, tower.prefix_tokens)
    tower.tower.module.cpu()
    teacher = AnswerTeacher(
        model,
        Segments(tokenizer, language.prompt),
        pictures.rows,
        recipe.codec_pictures.questions,
        tower.prefix_tokens,
    )
    trainer = CodecTrainer(teacher, recipe.codec, recipe.codec_training, features, work / "codec.ckpt", seed)
    trainer.run()
    return trainer.encoder, trainer.decoder
