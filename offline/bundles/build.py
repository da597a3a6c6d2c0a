"""From data to a bundle: backbone, codec, reference, fronts. Every stage goes on where it was stopped."""

import logging
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cloud.torch_classifier import TorchClassifier
from edge.torch_engine import TorchEngine
from offline.bundles.folders import BYTES_PER_TRAINED_WEIGHT, check_folders, check_space
from offline.bundles.model_checks import check_kwargs
from offline.bundles.named_model import NamedModel
from offline.bundles.named_weights import load_file_or_id, load_weights
from offline.bundles.own_output import check_codec, check_split_classifier, perturbed
from offline.bundles.policies import check_designed, check_search, check_work, with_policies
from offline.bundles.write import lent, write_bundle
from offline.data.images import LabelledImages, load, split_select
from offline.export.bundle import export_bundle
from offline.measure.studies import check_merging
from offline.recipes.recipe import BundleRecipe, Recipe, read_recipe
from offline.train.classifier import train_backbone
from offline.train.head import fit_head
from offline.train.jscc import CodecTrainer, token_features
from offline.train.teachers import LabelTeacher
from thinwire.bundle import Bundle, load_bundle
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.nn.codec.encoder import JsccEncoder
from thinwire.nn.towers.models import classifier_of
from thinwire.nn.weights import build_classifier, load_backbone
from thinwire.records import read

log = logging.getLogger(__name__)


def build(
    recipe: Recipe, data: str, work: Path, output: Path, seed: int = 0, named: NamedModel | None = None
) -> Bundle:
    """Train, measure and write a bundle.

    A recipe that names another bundle takes the backbone from there, as a file that stays there if that can be found
    again (`offline.bundles.write.lent`), and begins with its JSCC pair if that is of the same `Codec`.

    Args:
        recipe: what to make.
        data: a tar or folder of ``class/image``, or a hub data set; see `offline.data.images.load`.
        work: folder of checkpoints and of the policy store; a second call with the same folder resumes.
        output: folder of the bundle.
        seed: of weights, augmentation, searches and noise.
        named: the model whose weights the recipe takes as they are, where they are not its own.

    Raises:
        UnavailableError: the library that searches policies is not installed.
        BundleError: the model is none that can be split, or the split is another function than the model's own.
        InvalidRequestError: recipe, data and folders do not fit each other. All of this is told before anything is
            trained.
    """
    check_search(recipe.search)
    check_folders(recipe.name, work, output)
    model, classes = check_model(recipe, named)
    tower = classifier_of(model)
    check_designed(recipe.search, recipe.split_layer + recipe.merging.front)
    if recipe.trainings:
        weights = sum(one.numel() for one in model.parameters())
        check_space(work, BYTES_PER_TRAINED_WEIGHT * weights * len(recipe.trainings))
    images = load(data, recipe.preprocessing, classes, check=partial(_check_classes, tower.classes, classes, data))
    train, select = split_select(images)
    _check_enough(recipe, train, select)
    check_work(work)
    work.mkdir(parents=True, exist_ok=True)
    log.info("%d images to train on, %d to select on", len(train), len(select))
    for number, training in enumerate(recipe.trainings):
        model = train_backbone(
            recipe.model, training, train, select, recipe.preprocessing, work / f"backbone-{number + 1}.ckpt", seed,
            begin_with=model.state_dict() if number or recipe.weights is not None else None,
        )  # fmt: skip
    if recipe.head_images is not None:
        fit_head(model, train.even_sample(recipe.head_images), recipe.preprocessing)
    if named is not None and not named.has_head:
        fit_head(model, train, recipe.preprocessing)
    encoder, decoder = _train_codec(recipe, model, train, work, seed)
    tower = classifier_of(model)
    bundle = Bundle(
        name=recipe.name,
        task="classify",
        model=recipe.model,
        split_layer=recipe.split_layer,
        depth=tower.depth,
        width=tower.width,
        patches=tower.patches,
        prefix_tokens=tower.prefix_tokens,
        labels=train.classes,
        preprocessing=recipe.preprocessing,
        merging=recipe.merging,
        codec=recipe.codec,
        files={},
        folder=output,
    )
    if recipe.backbone is not None:
        bundle = lent(bundle, load_bundle(recipe.backbone))
    bundle = write_bundle(bundle, {"backbone": model, "encoder": encoder, "decoder": decoder})
    bundle = with_policies(bundle, select, recipe.search, work, seed)
    return export_bundle(bundle) if recipe.export else bundle


def build_named(named: NamedModel, recipe: str, data: str, work: Path, output: Path, seed: int = 0) -> Bundle:
    """`build` for a model with weights: codec and search as a recipe says, all else as the model does.

    Args:
        named: the model, whose weights are taken as they are; a head that it lacks is fitted to the data.
        recipe: a file, or the name of a shipped one; its own model, if it has one, is left aside.
        data: as for `build`; likewise the rest.

    Raises:
        InvalidRequestError: as for `build`, or a field of the recipe is missing or no such value.
    """
    content = read_recipe(recipe)
    own = {one.name for one in fields(BundleRecipe)} & content.keys()
    stated = {
        "name": named.name,
        "data": data,
        "model": named.spec,
        "split_layer": named.plan().depth,
        "preprocessing": asdict(named.preprocessing),
        "weights": str(named.weights),
    }
    try:
        whole = read(Recipe, {name: content[name] for name in own} | stated)
    except (BundleError, InvalidRequestError) as error:
        raise InvalidRequestError(f"no readable recipe {recipe}: {error}") from None
    return build(whole, data, work, output, seed, named)


def check_model(recipe: Recipe, named: NamedModel | None = None) -> tuple[Any, tuple[str, ...] | None]:
    """Check that a recipe's model can be split as it says, and that the split is the model's own function.

    Returns:
        the model, untrained unless the recipe names weights or a bundle; and its classes, where it is borrowed.

    Raises:
        BundleError: it cannot be built, or cannot be split, or is another function then.
        InvalidRequestError: recipe and model do not fit each other.
    """
    if recipe.backbone is not None:
        lender = load_bundle(recipe.backbone)
        model = load_backbone(lender).eval()
        classes: tuple[str, ...] | None = lender.labels
        compared = model
    elif named is not None:
        named.plan()
        model = named.build()
        load_weights(named, model)
        classes, compared = named.known_labels, model
    else:
        check_kwargs(recipe.model)
        try:
            model = build_classifier(recipe.model).eval()
        except (BundleError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise BundleError(f"no model of the recipe {recipe.name} can be split: {reason}") from None
        classes = None
        if recipe.weights is not None:
            load_file_or_id(recipe.weights, model, may_lack_head=recipe.backbone_training is not None)
        compared = model if recipe.weights is not None else perturbed(model)
    tower = classifier_of(model)
    size, taken = recipe.preprocessing.size, tower.image_size
    if size != taken:
        raise InvalidRequestError(f"preprocessing.size: expected the model's {taken}, got {size}")
    if recipe.split_layer > tower.depth:
        raise InvalidRequestError(
            f"split_layer: expected at most the {tower.depth} layers of the model, got {recipe.split_layer}"
        )
    check_merging(recipe.split_layer, tower.patches, ("split_layer", "model.patch_size"))
    check_codec(recipe.codec, tower.width)
    check_split_classifier(compared, recipe.split_layer, recipe.merging, recipe.preprocessing)
    return model, classes


def _check_classes(classes: int, known: tuple[str, ...] | None, data: str, found: tuple[str, ...]) -> None:
    if len(found) < 2:
        raise InvalidRequestError(f"data: expected two classes or more in {data}, got {', '.join(found)}")
    if known is not None and set(known) - set(found):
        missing = ", ".join(sorted(set(known) - set(found)))
        raise InvalidRequestError(
            f"data: expected the classes of the borrowed backbone in {data}, got none of {missing}"
        )
    if len(found) != classes:
        raise InvalidRequestError(f"model.num_classes: expected the {len(found)} classes of {data}, got {classes}")


def _check_enough(recipe: Recipe, train: LabelledImages, select: LabelledImages) -> None:
    batches = [("codec_training", recipe.codec_training.batch_size)]
    names = ("backbone_training", *["further_training"] * len(recipe.further_training))
    batches += [(name, training.batch_size) for name, training in zip(names, recipe.trainings, strict=False)]
    for name, size in batches:
        if len(train) < size:
            raise InvalidRequestError(
                f"{name}.batch_size: expected at most the {len(train)} images to train on, got {size}"
            )
    if not len(select):
        raise InvalidRequestError(f"data: expected more images, got {len(train)}, none of which is of the select split")


def _train_codec(
    recipe: Recipe, model: nn.Module, train: LabelledImages, work: Path, seed: int
) -> tuple[JsccEncoder, JsccDecoder]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    tower = classifier_of(model)
    if recipe.codec_training.images is not None:
        train = train.even_sample(recipe.codec_training.images)
    features = token_features(
        tower, recipe.split_layer, train.pixels, recipe.preprocessing, tower.prefix_tokens, kept=work / "features"
    )
    teacher = LabelTeacher(model, recipe.split_layer, recipe.merging.proportional_attention)
    begin_with = None
    if recipe.backbone is not None and (lender := load_bundle(recipe.backbone)).codec == recipe.codec:
        # What it knows of noise, rates and sizes holds for tokens of another layer as well.
        begin_with = TorchEngine.load(lender).encoder, TorchClassifier.load(lender).decoder
    trainer = CodecTrainer(
        teacher, recipe.codec, recipe.codec_training, features, work / "codec.ckpt", seed, begin_with
    )
    trainer.run()
    model.cpu()
    return trainer.encoder, trainer.decoder
