"""What ``--model`` may name: a vision transformer of timm or transformers, in a library, on the hub or on disk."""

import json
import re
from pathlib import Path
from typing import Any

import timm

from offline.bundles.checkpoints import CONFIGURATION, HUB, WEIGHTS, download
from offline.bundles.named_model import NamedModel, of_timm, of_transformers
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.nn.towers.hub_model import BY_TYPE

PICKLES = (".bin", ".pth", ".pt", ".ckpt", ".pkl")
# Far more than any model has; a slip of the finger takes all memory for their names alone.
MOST_LABELS = 10**6
CONVERT = (
    "a pickle, which may run code and is never read: where you trust it, write safetensors with "
    "`from safetensors.torch import save_file; save_file(torch.load(FILE, weights_only=True), 'model.safetensors')`"
)


def is_tower(name: str, revision: str | None = None) -> bool:
    """Whether a name is to be taken as a vision transformer's, and not as a LLaVA's; fetches a configuration at most.

    Raises:
        BundleError: an id on the hub has none.
    """
    path = Path(name)
    if path.suffix in (*PICKLES, ".safetensors") or name.startswith(HUB):
        return True
    if path.is_dir():
        folder = path
    elif "/" in name:
        folder = download(name, revision, CONFIGURATION)
    else:
        # timm's, or nobody's.
        return True
    try:
        config = _json(folder / "config.json") or {}
    except BundleError:
        # Whoever reads a LLaVA tells it in full.
        return False
    kind = config.get("model_type")
    # A CLIP or SigLIP may be whole, with the half that reads texts.
    return "architecture" in config or kind in BY_TYPE or f"{kind}_vision_model" in BY_TYPE


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
    if labels is not None and not 1 <= labels <= MOST_LABELS:
        raise InvalidRequestError(f"labels: expected from 1 to {MOST_LABELS:,} classes, got {labels}")
    if path.suffix == ".safetensors":
        return _of_file(path, labels, random, architecture, size, depth)
    if architecture is not None:
        raise InvalidRequestError(f"architecture: expected a safetensors file that it is of, got {name}")
    if path.is_dir():
        return _of_folder(path, path.resolve().name, labels, random, size, depth)
    if not name.startswith(HUB) and timm.is_model(name):
        config = _pretrained(name)
        weights = None
        if not random:
            if not (config and config.hf_hub_id):
                raise InvalidRequestError(f"model: timm has no safetensors of {name}; --random builds it without")
            weights = download(config.hf_hub_id, None, WEIGHTS) / "model.safetensors"
        return of_timm(name, name, {}, labels, weights, size, depth, config.to_dict() if config else {})
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
        pretrained = _pretrained(known)
        config = {"pretrained_cfg": pretrained.to_dict() if pretrained else {}}
    weights = None if random else path
    return of_timm(known, path.stem, config, labels, weights, size, depth, config.get("pretrained_cfg", {}))


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
        return of_timm(known, name, config, labels, weights, size, depth, config.get("pretrained_cfg", {}))
    return of_transformers(folder, name, labels, random, size, depth)


def _pretrained(name: str) -> Any:
    """What timm knows of a name's weights; None where it has none.

    Raises:
        InvalidRequestError: timm knows the architecture, and no weights of that tag.
    """
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError:
        base, _, tag = name.partition(".")
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{base}.*")]
        raise InvalidRequestError(
            f"model: expected a tag that timm has of {base} ({', '.join(tags) or 'none'}), got {tag!r}"
        ) from None


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from None
    return content if isinstance(content, dict) else None
