"""Weights of named models: by timm's and transformers' own rules for names and positions, and then to the letter."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from timm.models import eva, vision_transformer
from timm.models.eva import Eva
from torch import Tensor, nn

from offline.bundles.checkpoints import HUB, WEIGHTS, download
from offline.bundles.named_model import NamedModel
from offline.bundles.naming import CONVERT, PICKLES
from offline.bundles.vision_tower import SINGLE
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.nn.towers.hub_model import HubModel

# Those that a checkpoint without a head may lack.
HEADS = ("head.", "head_dist.", "model.classifier.")


def load_weights(named: NamedModel, model: nn.Module) -> None:
    """Load a checkpoint into the model that `NamedModel.spec` describes.

    Raises:
        BundleError: a tensor is missing, or is of another shape, or not finite, or none of the model's; the first of
            each is named.
    """
    assert named.weights is not None
    stored = _read_hub(named, model) if named.weights.is_dir() else _read_timm(named.weights, model)
    expected = model.state_dict()
    if not named.has_head:
        stored |= {key: value for key, value in expected.items() if key.startswith(HEADS) and key not in stored}
    check_tensors(named.name, expected, stored)
    model.load_state_dict(stored)


def load_file_or_id(source: str, model: nn.Module, may_lack_head: bool) -> None:
    """Load weights into one of timm's models, positions resampled to its grid.

    Args:
        source: a safetensors file with timm's names, or ``hf-hub:`` and the id of one on the hub.
        model: what they are of.
        may_lack_head: whether a head that is missing, or is of other classes, begins at random: always the same one, so
            that a training that begins with it can be told from others.

    Raises:
        InvalidRequestError: there is no such file, or it is a pickle.
        BundleError: it is not safetensors, or a tensor is missing, of another shape, not finite or none of the model's.
    """
    path = Path(source)
    if source.startswith(HUB):
        path = download(source.removeprefix(HUB), None, WEIGHTS) / SINGLE
    if not path.is_file():
        raise InvalidRequestError(f"weights: expected a safetensors file or {HUB} and an id, got {source}")
    if path.suffix in PICKLES:
        raise InvalidRequestError(f"weights: expected safetensors, got {source}, {CONVERT}")
    stored, expected = _read_timm(path, model), model.state_dict()
    if may_lack_head:
        heads = {key: value for key, value in expected.items() if key.startswith(HEADS)}
        if any(key not in stored or stored[key].shape != value.shape for key, value in heads.items()):
            generator = torch.Generator().manual_seed(0)
            new = {key: 0.02 * torch.randn(value.shape, generator=generator) for key, value in heads.items()}
            stored = {key: value for key, value in stored.items() if not key.startswith(HEADS)} | new
    check_tensors(source, expected, stored)
    model.load_state_dict(stored)


def check_tensors(name: str, expected: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> None:
    """Check that a checkpoint holds a model's tensors, all of them, of their shapes, finite, and no others.

    Raises:
        BundleError: it does not; names the first.
    """
    if missing := sorted(expected.keys() - stored.keys()):
        raise BundleError(f"weights of {name}: expected {len(expected)} tensors, got none of {_some(missing)}")
    if extra := sorted(stored.keys() - expected.keys()):
        raise BundleError(
            f"weights of {name}: expected the model's {len(expected)} tensors, got {_some(extra)} as well"
        )
    for key, value in expected.items():
        if stored[key].shape != value.shape:
            raise BundleError(
                f"weights of {name}: expected {key} of {tuple(value.shape)}, got {tuple(stored[key].shape)}"
            )
        if not stored[key].isfinite().all():
            raise BundleError(f"weights of {name}: expected finite numbers in {key}, got infinite ones or NaN")


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _read_timm(path: Path, model: Any) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            stored = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise BundleError(f"weights: expected safetensors, got {path}: {' '.join(str(error).split())[:200]}") from None
    own = eva if isinstance(model, Eva) else vision_transformer
    # Names of other libraries, and positions of another grid.
    try:
        return dict(own.checkpoint_filter_fn(stored, model))
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise BundleError(
            f"weights: expected those of {type(model).__name__} in {path}, got others: {reason}"
        ) from None


def _read_hub(named: NamedModel, model: nn.Module) -> dict[str, Tensor]:
    """The tensors of a folder for a `HubModel`, positions resampled to its grid.

    Raises:
        BundleError: the library cannot read them, or some are missing, of another shape or not the model's.
    """
    assert isinstance(model, HubModel)
    assert named.weights is not None
    kind: Any = getattr(transformers, model.architecture)
    try:
        loaded, info = kind.from_pretrained(
            named.weights, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True,
            trust_remote_code=False, ignore_mismatched_sizes=True,
        )  # fmt: skip
    # transformers raises whatever a broken checkpoint meets.
    except Exception as error:
        raise BundleError(f"weights of {named.name}: {' '.join(str(error).split())[:300]}") from None
    missing = sorted(key for key in info["missing_keys"] if named.has_head or not key.startswith("classifier."))
    # Of the checkpoint of a model that has more than eyes, the rest is left.
    seen = ("vision_model.", "embeddings.", "encoder.", "layers.", "layer.", "classifier.")
    extra = sorted(key for key in info["unexpected_keys"] if key.startswith(seen) and "position_ids" not in key)
    mismatched = sorted(str(key[0] if isinstance(key, tuple) else key) for key in info["mismatched_keys"])
    mismatched = [key for key in mismatched if named.has_head or not key.startswith("classifier.")]
    for what, keys in (("missing", missing), ("not the model's", extra), ("of another shape", mismatched)):
        if keys:
            raise BundleError(f"weights of {named.name}: {what}: {', '.join(keys[:3])}, {len(keys)} in all")
    stored = {f"model.{key}": value for key, value in loaded.state_dict().items()}
    if not named.has_head:
        stored = {key: value for key, value in stored.items() if not key.startswith("model.classifier.")}
    return _resampled(HubModel.around(loaded), model, stored)


@torch.no_grad()
def _resampled(source: HubModel, target: HubModel, stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The positions of one grid on another, as the library itself resamples them."""
    if source.image_size == target.image_size or not hasattr(source.vision.embeddings, "interpolate_pos_encoding"):
        return stored
    size, patches = target.image_size, target.grid_size**2
    expected = target.state_dict()
    keys = [key for key in stored if ".position_embedding" in key and key.endswith(("embeddings", "embedding.weight"))]
    for key in keys:
        rows = torch.zeros(1, expected[key].shape[-2], expected[key].shape[-1])
        places = source.vision.embeddings.interpolate_pos_encoding(rows, size, size)
        if places.shape[-2] < patches:
            raise BundleError(f"positions: expected {patches} on the new grid, got {places.shape[-2]}")
        stored[key] = places.reshape(expected[key].shape)
    return stored
