"""A bundle's models with their weights."""

from collections.abc import Callable
from typing import Any, TypeVar

from safetensors.torch import load_file
from torch import nn

from thinwire.bundle import Bundle
from thinwire.errors import BundleError
from thinwire.nn.backbone import build_backbone, check_classifier
from thinwire.nn.towers.interface import ImageTower, SpeechTower, Tower
from thinwire.nn.towers.models import classifier_of
from thinwire.nn.towers.registry import build_tower
from thinwire.nn.towers.timm_tower import TimmTower

M = TypeVar("M", bound=nn.Module)


def load_backbone(bundle: Bundle) -> Any:
    """The whole backbone of a bundle that classifies, head included, in float32; its forward pass gives logits.

    Raises:
        BundleError: its manifest describes no backbone, or another one than its weights or its own figures do.
    """
    model = load_part(bundle, "backbone", lambda: build_classifier(bundle.model))
    tower = classifier_of(model)
    _check(bundle, tower, {"labels": (len(bundle.labels), tower.classes)})
    if bundle.prefix_tokens != tower.prefix_tokens:
        raise _differs(bundle, "prefix_tokens", bundle.prefix_tokens, tower.prefix_tokens)
    if getattr(tower, "rotary", False) and bundle.split_layer < tower.depth:
        raise BundleError(
            f"bundle {bundle.name}: split_layer: expected {tower.depth}, since rotary positions are not sent, "
            f"got {bundle.split_layer}"
        )
    return model


def build_classifier(spec: dict[str, Any]) -> Any:
    """A model that classifies, with random weights.

    Args:
        spec: the ``model`` of a manifest; of timm's, or of the tower "transformers".

    Raises:
        BundleError: the tower is another.
        ValueError: none can be built so, or it does not classify as device and cloud do together.
    """
    name = spec.get("tower", "timm")
    if name == "timm":
        model = build_backbone(spec)
        check_classifier(model)
        TimmTower(model)
        return model
    if name == "transformers":
        return build_tower(spec).module
    raise BundleError(f"to classify takes a model of timm or of transformers, got tower {name!r}")


def load_tower(bundle: Bundle) -> Tower:
    """What a bundle's device runs, in float32.

    Raises:
        BundleError: its manifest describes no tower, or another one than its weights or its own figures do.
    """
    if bundle.task == "classify":
        return classifier_of(load_backbone(bundle))
    try:
        tower = build_tower(bundle.model)
    except BundleError as error:
        raise BundleError(f"bundle {bundle.name}: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(tower, SpeechTower if bundle.task == "transcription" else ImageTower):
        what, found = "speech" if bundle.task == "transcription" else "images", bundle.model.get("tower", "timm")
        raise BundleError(f"bundle {bundle.name}: expected a tower of {what}, got {found!r}")
    load_part(bundle, "backbone", lambda: tower.module)
    _check(bundle, tower, {"split_layer": (bundle.split_layer, tower.depth)})
    if bundle.prefix_tokens not in (0, tower.prefix_tokens):
        raise _differs(bundle, "prefix_tokens", bundle.prefix_tokens, tower.prefix_tokens)
    return tower


def _check(bundle: Bundle, tower: Tower, more: dict[str, tuple[int, int]]) -> None:
    if isinstance(tower, ImageTower):
        more = {"preprocessing.size": (bundle.preprocessing.size, tower.image_size)} | more
    figures = {
        "depth": (bundle.depth, tower.depth),
        "width": (bundle.width, tower.width),
        "patches": (bundle.patches, tower.patches),
    }
    for name, (stated, found) in (figures | more).items():
        if stated != found:
            raise _differs(bundle, name, stated, found)


def _differs(bundle: Bundle, name: str, stated: int, found: int) -> BundleError:
    return BundleError(f"bundle {bundle.name}: its manifest has {name} {stated}, its backbone {found}")


def load_part(bundle: Bundle, name: str, build: Callable[[], M]) -> M:
    """A model of a bundle with its weights, in float32.

    Args:
        name: of the file, without ``.safetensors``.
        build: makes the model with any weights, as the manifest describes it.

    Raises:
        BundleError: the manifest does not list the file, or describes no model that its weights fit.
    """
    path = bundle.verified(f"{name}.safetensors")
    try:
        model = build()
        model.load_state_dict(load_file(path))
    # The manifest decides what is built, so anything that torch and timm raise on odd arguments comes here.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(f"bundle {bundle.name}: its manifest does not describe its {name}: {reason}") from None
    return model.float()
