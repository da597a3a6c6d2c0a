"""What ``--model`` may name: one of timm's or transformers' vision transformers, and where its weights are."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import safe_open
from timm.data import ImageNetInfo, infer_imagenet_subset

from offline.bundles.checkpoints import CONFIGURATION, WEIGHTS, download, preprocessing_of
from offline.bundles.vision_tower import read_config
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.images import RESAMPLING, Preprocessing
from thinwire.nn.backbone import build_backbone
from thinwire.nn.towers.hub_model import ARCHITECTURES, BY_TYPE, config_fields
from thinwire.nn.towers.interface import ClassifyingTower
from thinwire.nn.towers.models import classifier_of
from thinwire.nn.weights import build_classifier

PICKLES = (".bin", ".pth", ".pt", ".ckpt", ".pkl")
CONVERT = (
    "a pickle, which may run code and is never read: where you trust it, write safetensors with "
    "`from safetensors.torch import save_file; save_file(torch.load(FILE, weights_only=True), 'model.safetensors')`"
)
HUB = "hf-hub:"


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


def name_model(
    name: str,
    labels: int | None = None,
    random: bool = False,
    architecture: str | None = None,
    size: int | None = None,
    depth: int | None = None,
) -> NamedModel:
    """Find a model by its name, before anything is built.

    Args:
        name: a timm name; ``hf-hub:`` and an id; a folder or an id of transformers; or a safetensors file.
        labels: number of classes; by default the head's.
        random: whether its weights will be random, so that none are looked for.
        architecture: the timm name of a file that has no ``config.json`` beside it.
        size: height and width of the input, if it is to be another than the model's; positions are resampled.
        depth: layers to keep; for tests.

    Raises:
        InvalidRequestError: the name is none, names a pickle, or the labels do not fit the head.
        BundleError: a checkpoint is incomplete, or is no vision transformer that can be split.
    """
    path = Path(name)
    if path.suffix in PICKLES:
        raise InvalidRequestError(f"model: expected safetensors, got {name}, {CONVERT}")
    if labels is not None and labels < 1:
        raise InvalidRequestError(f"labels: expected a class at least, got {labels}")
    if path.suffix == ".safetensors":
        return _of_file(path, labels, random, architecture, size, depth)
    if architecture is not None:
        raise InvalidRequestError(f"architecture: expected a safetensors file that it is of, got {name}")
    if path.is_dir():
        return _of_folder(path, path.resolve().name, labels, random, size, depth)
    if not name.startswith(HUB) and timm.is_model(name):
        config = timm.get_pretrained_cfg(name)
        weights = None
        if not random:
            if not (config and config.hf_hub_id):
                raise InvalidRequestError(f"model: timm has no safetensors of {name}; --random builds it without")
            weights = download(config.hf_hub_id, None, WEIGHTS) / "model.safetensors"
        return _of_timm(name, name, {}, labels, weights, size, depth, config.to_dict() if config else {})
    if not name.startswith(HUB) and "/" not in name:
        close = timm.list_models(f"*{name[:12]}*")[:3] if re.fullmatch(r"[\w.]+", name) else []
        hint = f" (timm has {', '.join(close)})" if close else ""
        raise InvalidRequestError(
            f"model: expected a timm name, an id on the Hugging Face hub, a folder or a safetensors file, "
            f"got {name!r}{hint}"
        )
    identity = name.removeprefix(HUB)
    folder = download(identity, None, CONFIGURATION if random else [*CONFIGURATION, *WEIGHTS])
    return _of_folder(folder, identity, labels, random, size, depth)


def _of_file(
    path: Path, labels: int | None, random: bool, architecture: str | None, size: int | None, depth: int | None
) -> NamedModel:
    if not path.is_file():
        raise InvalidRequestError(f"model: expected a file, got {path}, which is not there")
    config = _json(path.with_name("config.json"))
    known = architecture or (config or {}).get("architecture")
    if not isinstance(known, str) or not timm.is_model(known):
        raise InvalidRequestError(
            f"model: expected a timm name as architecture (--architecture) or a config.json beside {path}, "
            f"got {known!r}"
        )
    if config is None or architecture is not None:
        pretrained = timm.get_pretrained_cfg(known)
        config = {"pretrained_cfg": pretrained.to_dict() if pretrained else {}}
    weights = None if random else path
    return _of_timm(known, path.stem, config, labels, weights, size, depth, config.get("pretrained_cfg", {}))


def _of_folder(
    folder: Path, name: str, labels: int | None, random: bool, size: int | None, depth: int | None
) -> NamedModel:
    config = _json(folder / "config.json")
    if config is None:
        raise BundleError(f"model: expected a config.json in {folder}, got none")
    if not random and not list(folder.glob("*.safetensors")):
        pickles = sorted(one.name for ending in PICKLES for one in folder.glob(f"*{ending}"))
        got = f"{pickles[0]}, {CONVERT}" if pickles else "none"
        raise InvalidRequestError(f"model: expected safetensors in {folder}, got {got}")
    if isinstance(config.get("architecture"), str):
        weights = None if random else folder / "model.safetensors"
        known = config["architecture"]
        if not timm.is_model(known):
            raise BundleError(f"architecture: expected a name of timm.list_models() in {folder}, got {known!r}")
        return _of_timm(known, name, config, labels, weights, size, depth, config.get("pretrained_cfg", {}))
    return _of_transformers(folder, name, labels, random, size, depth)


def _of_timm(
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
    classes = labels or held
    if not classes:
        raise InvalidRequestError(f"labels: expected a number of them, since {name} has no head, got none")
    if classes != model.num_classes:
        kwargs["num_classes"] = classes
    prepared = timm.data.resolve_data_config(pretrained_cfg=dict(pretrained), model=model)
    return NamedModel(
        _plain_name(name), spec, _timm_preprocessing(name, prepared, int(model.patch_embed.img_size[0])),
        _timm_labels(config, pretrained, classes), weights, has_head,
    )  # fmt: skip


def _timm_preprocessing(name: str, config: Mapping[str, Any], size: int) -> Preprocessing:
    fit = {"center": "crop", "squash": "squash"}.get(config["crop_mode"])
    if fit is None or config["interpolation"] not in RESAMPLING:
        raise BundleError(
            f"{name}: expected pictures that are cropped or squashed, {' or '.join(RESAMPLING)}, "
            f"got {config['crop_mode']}, {config['interpolation']}"
        )
    mean, std = (tuple(float(value) for value in config[part]) for part in ("mean", "std"))
    return Preprocessing(size, float(config["crop_pct"]), config["interpolation"], mean, std, fit)  # type: ignore[arg-type]


def _timm_labels(config: Mapping[str, Any], pretrained: Mapping[str, Any], classes: int) -> tuple[str, ...]:
    stated = config.get("label_names") or pretrained.get("label_names")
    if isinstance(stated, list | tuple) and len(stated) == classes:
        return tuple(map(str, stated))
    subset = infer_imagenet_subset(dict(pretrained)) if pretrained.get("num_classes") == classes else None
    if subset is None:
        return _numbered(classes)
    info = ImageNetInfo(subset)
    names = [info.index_to_description(index).split(",")[0] for index in range(classes)]
    # Some synsets share their first word: a bird and a machine are both called crane.
    return tuple(
        name if names.count(name) == 1 else f"{name} ({info.index_to_label_name(index)})"
        for index, name in enumerate(names)
    )


def _of_transformers(
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
    known = tuple(str(names[index]) for index in range(classes)) if len(names) == classes else _numbered(classes)
    return NamedModel(_plain_name(name), spec, preprocessing, known, None if random else folder, has_head)


def _rows(path: Path, key: str) -> int | None:
    try:
        with safe_open(path, framework="pt") as file:
            return int(file.get_slice(key).get_shape()[0]) if key in file.keys() else None  # noqa: SIM118
    except Exception as error:
        raise BundleError(f"weights: expected safetensors, got {path}: {' '.join(str(error).split())[:200]}") from None


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from None
    return content if isinstance(content, dict) else None


def _numbered(classes: int) -> tuple[str, ...]:
    return tuple(f"class {index}" for index in range(classes))


def _plain_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.")[:100] or "tower"
