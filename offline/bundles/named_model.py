"""One of timm's or transformers' vision transformers by what its configuration says, before it is built."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import safe_open
from timm.data import ImageNetInfo, infer_imagenet_subset

from offline.bundles.checkpoints import preprocessing_of
from offline.bundles.vision_tower import read_config
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.images import RESAMPLING, Preprocessing
from thinwire.nn.backbone import build_backbone
from thinwire.nn.towers.hub_model import ARCHITECTURES, BY_TYPE, config_fields
from thinwire.nn.towers.interface import ClassifyingTower
from thinwire.nn.towers.models import classifier_of
from thinwire.nn.weights import build_classifier


@dataclass(frozen=True)
class NamedModel:
    """A model before it is built.

    Attributes:
        name: what a bundle of it can be called.
        spec: the ``model`` of a manifest.
        preprocessing: what the library that made it does to images.
        labels: a name for each class.
        weights: a safetensors file of timm's, or a folder of transformers'; None where there are none.
        has_head: whether the weights hold the head, which otherwise begins at random.
        names_classes: whether the labels say what the classes are, and do not just number them.
    """

    name: str
    spec: dict[str, Any]
    preprocessing: Preprocessing
    labels: tuple[str, ...]
    weights: Path | None
    has_head: bool
    names_classes: bool = False

    @property
    def known_labels(self) -> tuple[str, ...] | None:
        """The labels that data must be of; None where any will do, in their order."""
        return self.labels if self.names_classes else None

    def plan(self) -> ClassifyingTower:
        """The tower without weights, from which all its figures can be read.

        Raises:
            BundleError: the model cannot be split; says why.
        """
        try:
            with torch.device("meta"):
                model = build_classifier(self.spec)
            return classifier_of(model)
        except (BundleError, InvalidRequestError, ValueError) as error:
            raise BundleError(f"{self.name} cannot be split: {' '.join(str(error).split())[:300]}") from None

    def build(self) -> Any:
        """The model, in evaluation mode, with random weights.

        Raises:
            BundleError: it cannot be built here, as where memory does not hold it.
        """
        try:
            return build_classifier(self.spec).eval()
        except (BundleError, InvalidRequestError, ValueError) as error:
            raise BundleError(f"{self.name} cannot be built: {' '.join(str(error).split())[:300]}") from None


def of_timm(
    known: str,
    name: str,
    config: Mapping[str, Any],
    labels: int | None,
    weights: Path | None,
    size: int | None,
    depth: int | None,
    pretrained: Mapping[str, Any],
) -> NamedModel:
    base = known.split(".")[0]
    kwargs = dict(config.get("model_args") or {})
    if "num_classes" in config:
        kwargs["num_classes"] = config["num_classes"]
    kwargs |= {key: value for key, value in (("img_size", size), ("depth", depth)) if value is not None}
    if config.get("global_pool"):
        kwargs["global_pool"] = config["global_pool"]
    spec: dict[str, Any] = {"timm": base, "kwargs": kwargs}
    try:
        with torch.device("meta"):
            model = build_backbone(spec)
    except ValueError as error:
        raise BundleError(f"{name} cannot be split: {' '.join(str(error).split())[:300]}") from None
    held = model.num_classes
    if weights is not None:
        held = _rows(weights, "head.weight") or 0
    has_head = held > 0
    if weights is not None and has_head and labels not in (None, held):
        raise InvalidRequestError(f"labels: expected the {held} classes of the head of {name}, got {labels}")
    if weights is not None and has_head:
        _check_stated(name, config, pretrained, held)
    classes = labels or held
    if not classes:
        raise InvalidRequestError(f"labels: expected a number of them, since {name} has no head, got none")
    if classes != model.num_classes:
        kwargs["num_classes"] = classes
    prepared = timm.data.resolve_data_config(pretrained_cfg=dict(pretrained), model=model)
    preprocessing = _timm_preprocessing(name, prepared, int(model.patch_embed.img_size[0]))
    stated = _timm_labels(config, pretrained, classes)
    names = stated or _numbered(classes)
    return NamedModel(_plain_name(name), spec, preprocessing, names, weights, has_head, stated is not None)


def _check_stated(name: str, config: Mapping[str, Any], pretrained: Mapping[str, Any], held: int) -> None:
    """Check that a configuration speaks of the head that lies beside it."""
    stated = config.get("label_names") or pretrained.get("label_names")
    names = len(stated) if isinstance(stated, list | tuple) else 0
    for field, number in (("num_classes", config.get("num_classes")), ("label_names", names)):
        # None and 0: it says nothing of a head.
        if number not in (None, 0, held):
            raise InvalidRequestError(
                f"{field}: expected the {held} classes of the head of {name} in its config.json, got {number}"
            )


def _timm_preprocessing(name: str, config: Mapping[str, Any], size: int) -> Preprocessing:
    fit = {"center": "crop", "squash": "squash"}.get(config["crop_mode"])
    if fit is None or config["interpolation"] not in RESAMPLING:
        raise BundleError(
            f"{name}: expected pictures that are cropped or squashed, {' or '.join(RESAMPLING)}, "
            f"got {config['crop_mode']}, {config['interpolation']}"
        )
    mean, std = (tuple(float(value) for value in config[part]) for part in ("mean", "std"))
    return Preprocessing(size, float(config["crop_pct"]), config["interpolation"], mean, std, fit)  # type: ignore[arg-type]


def _timm_labels(config: Mapping[str, Any], pretrained: Mapping[str, Any], classes: int) -> tuple[str, ...] | None:
    stated = config.get("label_names") or pretrained.get("label_names")
    if isinstance(stated, list | tuple) and len(stated) == classes:
        return tuple(map(str, stated))
    subset = infer_imagenet_subset(dict(pretrained)) if pretrained.get("num_classes") == classes else None
    if subset is None:
        return None
    info = ImageNetInfo(subset)
    names = [info.index_to_description(index).split(",")[0] for index in range(classes)]
    # Some synsets share their first word: a bird and a machine are both called crane.
    return tuple(
        name if names.count(name) == 1 else f"{name} ({info.index_to_label_name(index)})"
        for index, name in enumerate(names)
    )


def of_transformers(
    folder: Path, name: str, labels: int | None, random: bool, size: int | None, depth: int | None
) -> NamedModel:
    config = read_config(folder)
    vision = getattr(config, "vision_config", config)
    stated = [one for one in getattr(config, "architectures", None) or () if one in ARCHITECTURES]
    architecture = stated[0] if stated else BY_TYPE.get(vision.model_type)
    if architecture is None:
        raise BundleError(
            f"model_type: expected a vision transformer ({', '.join(BY_TYPE)}), got {vision.model_type} of {name}"
        )
    has_head = bool(stated) and ARCHITECTURES[architecture].pool != "pooled"
    held = int(config.num_labels) if has_head else 0
    if has_head and not random and labels not in (None, held):
        raise InvalidRequestError(f"labels: expected the {held} classes of the head of {name}, got {labels}")
    classes = labels or held
    if not classes:
        raise InvalidRequestError(f"labels: expected a number of them, since {name} has no head, got none")
    fields = {field: getattr(vision, field) for field in config_fields(architecture) if hasattr(vision, field)}
    if depth is not None:
        fields["num_hidden_layers"] = depth
    preprocessing = preprocessing_of(folder, may_squash=True)
    taken = size or preprocessing.size
    if "image_size" in fields:
        fields["image_size"] = taken
    if taken != preprocessing.size:
        raise InvalidRequestError(f"size: expected that of the image processor, {preprocessing.size}, got {size}")
    spec = {"tower": "transformers", "architecture": architecture, "config": fields, "classes": classes}
    names = getattr(config, "id2label", {}) if has_head and classes == held else {}
    named = tuple(str(names[index]) for index in range(classes)) if len(names) == classes else ()
    # What transformers writes where nobody named a class.
    is_named = bool(named) and named != tuple(f"LABEL_{index}" for index in range(classes))
    known = named if is_named else _numbered(classes)
    return NamedModel(_plain_name(name), spec, preprocessing, known, None if random else folder, has_head, is_named)


def _rows(path: Path, key: str) -> int | None:
    try:
        with safe_open(path, framework="pt") as file:
            return int(file.get_slice(key).get_shape()[0]) if key in file.keys() else None  # noqa: SIM118
    except Exception as error:
        raise BundleError(f"weights: expected safetensors, got {path}: {' '.join(str(error).split())[:200]}") from None


def _numbered(classes: int) -> tuple[str, ...]:
    return tuple(f"class {index}" for index in range(classes))


def _plain_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:100] or "tower"
