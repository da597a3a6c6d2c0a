"""A bundle's models with their weights."""

from collections.abc import Callable
from typing import TypeVar

from safetensors.torch import load_file
from torch import nn

from thinwire.bundle import Bundle
from thinwire.errors import BundleError
from thinwire.nn.backbone import VisionTransformer, build_backbone

M = TypeVar("M", bound=nn.Module)


def load_backbone(bundle: Bundle) -> VisionTransformer:
    """The backbone of a bundle, in float32.

    Raises:
        BundleError: its manifest describes no backbone, or another one than its weights or its own figures do.
    """
    model = load_part(bundle, "backbone", lambda: build_backbone(bundle.model))
    found = {
        "preprocessing.size": model.patch_embed.grid_size[0] * model.patch_embed.patch_size[0],
        "depth": len(model.blocks),
        "width": model.embed_dim,
        "patches": model.patch_embed.num_patches,
        "prefix_tokens": model.num_prefix_tokens,
        "labels": model.num_classes,
    }
    stated = {
        "preprocessing.size": bundle.preprocessing.size,
        "depth": bundle.depth,
        "width": bundle.width,
        "patches": bundle.patches,
        "prefix_tokens": bundle.prefix_tokens,
        "labels": len(bundle.labels),
    }
    for name, value in stated.items():
        if found[name] != value:
            raise BundleError(f"bundle {bundle.name}: its manifest has {name} {value}, its backbone {found[name]}")
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
