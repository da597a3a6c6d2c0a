"""The vision tower inside a LLaVA or of one of its own, cut at the feature layer: what a bundle's device runs.

From a folder only the tensors that run are read, so that a device's half of a large checkpoint can be made on a machine
that could never hold the language model.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoConfig

from thinwire.errors import BundleError
from thinwire.nn.towers.encoder_tower import ClipTower, EncoderTower, SiglipTower
from thinwire.nn.towers.interface import ImageTower
from thinwire.nn.towers.registry import build_tower

TOWERS: dict[str, type[EncoderTower]] = {kind.config_class.model_type: kind for kind in (ClipTower, SiglipTower)}
LLAVA = "llava"
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
# Older checkpoints have the model inside the tower, newer ones the tower inside the model.
PREFIX = re.compile(r"^(model\.)?(vision_tower\.)?(vision_model\.)?")


@dataclass(frozen=True)
class VisionTower:
    """A tower for a bundle.

    Attributes:
        spec: the ``model`` of the manifest.
        tower: with its weights; the state dict of its module is what ``backbone.safetensors`` holds.
        prefix_tokens: class tokens that the language model is given, which are sent.
    """

    spec: dict[str, Any]
    tower: ImageTower
    prefix_tokens: int


def cut_tower(model: nn.Module, feature_layer: int | None = None) -> VisionTower:
    """The tower of a model in memory.

    Args:
        model: one of transformers' LLaVA models, or the vision model alone.
        feature_layer: which hidden state to stop at; by default the one that the LLaVA reads.

    Raises:
        BundleError: the vision model is none of `TOWERS`, or has no such layer.
    """
    config: Any = model.config
    vision: Any = model
    if hasattr(config, "vision_config"):
        vision = getattr(model, "model", model).vision_tower
    weights = vision.state_dict()
    return _cut(config, feature_layer, lambda names: {name: weights[name] for name in names if name in weights})


def read_tower(folder: Path, feature_layer: int | None = None) -> VisionTower:
    """The tower of a checkpoint on disk, as transformers lays it out; of its weights, only the tower's are read.

    Args:
        folder: with ``config.json`` and safetensors, in one file or in shards.
        feature_layer: which hidden state to stop at; by default the one that the LLaVA reads.

    Raises:
        BundleError: the folder holds no such model, or the weights are not all there.
    """
    return _cut(read_config(folder), feature_layer, lambda names: _read(folder, names))


def read_config(folder: Path) -> Any:
    """A checkpoint's configuration; no code of the checkpoint is run.

    Raises:
        BundleError: there is none that transformers can read.
    """
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    # transformers raises whatever a broken configuration meets.
    except Exception as error:
        raise BundleError(f"no model's configuration in {folder}: {' '.join(str(error).split())[:300]}") from None


def plan_tower(config: Any, feature_layer: int | None = None) -> VisionTower:
    """What `read_tower` gives, but without weights: what can be told from a configuration alone.

    Raises:
        BundleError: as for `read_tower`.
    """
    with torch.device("meta"):
        return _build(config, feature_layer)


def _cut(
    config: Any, feature_layer: int | None, weights_of: Callable[[Iterable[str]], dict[str, Tensor]]
) -> VisionTower:
    cut = _build(config, feature_layer)
    module = cut.tower.module
    expected = module.state_dict()
    weights = weights_of(expected)
    for name, tensor in expected.items():
        if name not in weights:
            raise BundleError(f"the vision tower's weights lack {name}")
        if weights[name].shape != tensor.shape:
            raise BundleError(f"expected {name} of {tuple(tensor.shape)}, got {tuple(weights[name].shape)}")
    module.load_state_dict(weights)
    module.eval()
    return cut


def _build(config: Any, feature_layer: int | None) -> VisionTower:
    # Others choose, tile or pool what their towers give: LLaVA-NeXT's tiles would be lost without a word.
    if hasattr(config, "vision_config") and config.model_type != LLAVA:
        raise BundleError(f"model_type: expected {LLAVA}, got {config.model_type}, which sees images in another way")
    vision = getattr(config, "vision_config", config)
    kind = TOWERS.get(vision.model_type)
    if kind is None:
        raise BundleError(f"expected a vision model of {' or '.join(TOWERS)}, got {vision.model_type}")
    if feature_layer is None:
        feature_layer = getattr(config, "vision_feature_layer", -1)
    spec = {
        "tower": kind.name,
        "config": {name: getattr(vision, name) for name in kind.fields()},
        "feature_layer": feature_layer,
    }
    # All of `TOWERS` see.
    tower = cast(ImageTower, build_tower(spec))
    if tower.channels != 3:
        raise BundleError(f"num_channels: expected the 3 of RGB, got {tower.channels}")
    return VisionTower(spec, tower, _sent_prefix(config, tower))


def _sent_prefix(config: Any, tower: ImageTower) -> int:
    strategy = getattr(config, "vision_feature_select_strategy", "full")
    if strategy == "full":
        return tower.prefix_tokens
    # transformers drops the first token, whatever it is: where none is a class token, the first patch.
    if strategy == "default" and tower.prefix_tokens == 1:
        return 0
    raise BundleError(f"cannot select {strategy!r} of the tokens of a tower with {tower.prefix_tokens} class tokens")


def _read(folder: Path, names: Iterable[str]) -> dict[str, Tensor]:
    wanted = set(names)
    weights: dict[str, Tensor] = {}
    try:
        for file, keys in _stored(folder).items():
            found = [key for key in keys if PREFIX.sub("", key) in wanted]
            # A shard without any is never opened, and need not be there.
            if found:
                with safe_open(folder / file, framework="pt") as shard:
                    weights |= {PREFIX.sub("", key): shard.get_tensor(key) for key in found}
    except (OSError, ValueError, TypeError, AttributeError, KeyError, SafetensorError) as error:
        raise BundleError(f"cannot read the weights in {folder}: {type(error).__name__}: {error}") from None
    return weights


def check_weights(folder: Path) -> None:
    """Check that all files of a checkpoint's weights are there; reads none but the index.

    Raises:
        BundleError: one is missing, or there are none but pickles, which are never read.
    """
    try:
        files = sorted(_stored(folder))
    except (OSError, ValueError, TypeError, AttributeError, KeyError, SafetensorError) as error:
        pickles = sorted(path.name for ending in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(ending))
        got = f"{pickles[0]}, a pickle, which is never read" if pickles else f"{type(error).__name__}: {error}"
        raise BundleError(f"weights: expected {SINGLE} or {INDEX} in {folder}, got {got}") from None
    if missing := [file for file in files if not (folder / file).is_file()]:
        raise BundleError(f"weights: expected {len(files)} files in {folder}, got all but {', '.join(missing[:3])}")


def _stored(folder: Path) -> dict[str, list[str]]:
    """The names of the tensors in each file."""
    if not (folder / INDEX).is_file():
        with safe_open(folder / SINGLE, framework="pt") as shard:
            return {SINGLE: list(shard.keys())}
    stored: dict[str, list[str]] = {}
    for key, file in json.loads((folder / INDEX).read_text())["weight_map"].items():
        if Path(file).name != file:
            raise ValueError(f"{file!r} is no file of the folder")
        stored.setdefault(file, []).append(key)
    return stored
