"""A bundle's models with their weights."""

from collections.abc import Callable
from typing import TypeVar

from safetensors.torch import load_file
from torch import nn

from thinwire.bundle import Bundle
from thinwire.errors import BundleError
from thinwire.nn.attention import check_block
from thinwire.nn.backbone import VisionTransformer, build_backbone, check_classifier
from thinwire.nn.towers.interface import Tower
from thinwire.nn.towers.registry import build_tower
from thinwire.nn.towers.timm_tower import TimmTower

M = TypeVar("M", bound=nn.Module)


def load_backbone(bundle: Bundle) -> VisionTransformer:
    """The whole backbone of a bundle that classifies, head included, in float32.

    Raises:
        BundleError: its manifest describes no backbone, or another one than its weights or its own figures do.
    """
    if bundle.model.get("tower", "timm") != "timm":
        raise BundleError(f"bundle {bundle.name}: to classify takes a timm model, got tower {bundle.model['tower']!r}")
    model = load_part(bundle, "backbone", lambda: _plain(build_backbone(bundle.model)))
    _check(bundle, TimmTower(model), {"labels": (len(bundle.labels), model.num_classes)})
    if bundle.prefix_tokens != model.num_prefix_tokens:
        raise _differs(bundle, "prefix_tokens", bundle.prefix_tokens, model.num_prefix_tokens)
    return model


def load_tower(bundle: Bundle) -> Tower:
    """What a bundle's device runs, in float32.

    Raises:
        BundleError: its manifest describes no tower, or another one than its weights or its own figures do.
    """
    if bundle.task == "classify":
        return TimmTower(load_backbone(bundle))
    try:
        tower = build_tower(bundle.model)
    except BundleError as error:
        raise BundleError(f"bundle {bundle.name}: {' '.join(str(error).split())[:300]}") from None
    load_part(bundle, "backbone", lambda: tower.module)
    _check(bundle, tower, {"split_layer": (bundle.split_layer, tower.depth)})
    if bundle.prefix_tokens not in (0, tower.prefix_tokens):
        raise _differs(bundle, "prefix_tokens", bundle.prefix_tokens, tower.prefix_tokens)
    return tower


def _check(bundle: Bundle, tower: Tower, more: dict[str, tuple[int, int]]) -> None:
    figures = {
        "preprocessing.size": (bundle.preprocessing.size, tower.image_size),
        "depth": (bundle.depth, tower.depth),
        "width": (bundle.width, tower.width),
        "patches": (bundle.patches, tower.patches),
    }
    for name, (stated, found) in (figures | more).items():
        if stated != found:
            raise _differs(bundle, name, stated, found)


def _differs(bundle: Bundle, name: str, stated: int, found: int) -> BundleError:
    return BundleError(f"bundle {bundle.name}: its manifest has {name} {stated}, its backbone {found}")


def _plain(model: VisionTransformer) -> VisionTransformer:
    check_classifier(model)
    for block in model.blocks:
        check_block(block)
    return model


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
