"""From data to a bundle: backbone, codec, reference, fronts. Every stage goes on where it was stopped."""

import logging
from pathlib import Path

import torch

from cloud.decoder import JsccDecoder
from edge.torch_engine.encoder import JsccEncoder
from offline.bundles import load_pair, write_bundle
from offline.data import LabelledImages, load, split_select
from offline.fronts import with_policies
from offline.onnx_export.bundle import export_bundle
from offline.recipe import Recipe
from offline.search import Plan
from offline.teachers import LabelTeacher
from offline.train_backbone import train_backbone
from offline.train_codec import CodecTrainer, token_features
from thinwire.bundle import Bundle, load_bundle
from thinwire.errors import InvalidRequestError
from thinwire.nn.backbone import VisionTransformer
from thinwire.nn.towers.timm_tower import TimmTower
from thinwire.nn.weights import load_backbone

log = logging.getLogger(__name__)


def build(recipe: Recipe, data: str, work: Path, output: Path, seed: int = 0) -> Bundle:
    """Train, measure and write a bundle.

    A recipe that names another bundle takes the backbone from there, and begins with its JSCC pair if that is of the
    same `Codec`.

    Args:
        recipe: what to make.
        data: a tar or folder of ``class/image``, or a hub data set; see `offline.data.load`.
        work: folder of checkpoints and of the policy store; a second call with the same folder resumes.
        output: folder of the bundle.
        seed: of weights, augmentation, searches and noise.

    Raises:
        UnavailableError: the library that searches policies is not installed.
        InvalidRequestError: the data's classes are not those of the bundle whose backbone is taken.
    """
    # A library that the last stage lacks is to be told before hours of training, and not after them.
    Plan(max_loss=recipe.search.max_loss).check()
    work.mkdir(parents=True, exist_ok=True)
    train, select = split_select(load(data, recipe.preprocessing))
    log.info("%d images to train on, %d to select on", len(train), len(select))
    model = _backbone(recipe, train, select, work, seed)
    encoder, decoder = _train_codec(recipe, model, train, work, seed)
    bundle = write_bundle(recipe, train.classes, model, encoder, decoder, output)
    bundle = with_policies(bundle, select, recipe.search, work, seed)
    return export_bundle(bundle) if recipe.export else bundle


def _backbone(
    recipe: Recipe, train: LabelledImages, select: LabelledImages, work: Path, seed: int
) -> VisionTransformer:
    if recipe.backbone_training is not None:
        return train_backbone(
            recipe.model, recipe.backbone_training, train, select, recipe.preprocessing, work / "backbone.ckpt", seed
        )
    assert recipe.backbone is not None
    lender = load_bundle(recipe.backbone)
    if train.classes != lender.labels:
        raise InvalidRequestError(f"the data has the classes {train.classes}, bundle {lender.name} {lender.labels}")
    return load_backbone(lender).eval()


def _train_codec(
    recipe: Recipe, model: VisionTransformer, train: LabelledImages, work: Path, seed: int
) -> tuple[JsccEncoder, JsccDecoder]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device)
    prefix = model.num_prefix_tokens
    features = token_features(TimmTower(model), recipe.split_layer, train.pixels, recipe.preprocessing, prefix)
    teacher = LabelTeacher(model, recipe.split_layer, recipe.merging.proportional_attention)
    lender = None if recipe.backbone is None else load_bundle(recipe.backbone)
    # What it knows of noise, rates and sizes holds for tokens of another layer as well.
    begin_with = load_pair(lender) if lender is not None and lender.codec == recipe.codec else None
    trainer = CodecTrainer(
        teacher, recipe.codec, recipe.codec_training, features, work / "codec.ckpt", seed, begin_with
    )
    trainer.run()
    model.cpu()
    return trainer.encoder, trainer.decoder
