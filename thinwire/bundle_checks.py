"""Whether a manifest's values are possible, one by one; whether they fit the weights shows when these are loaded."""

import math
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from thinwire.errors import BundleError
from thinwire.images import RESAMPLING

if TYPE_CHECKING:
    from thinwire.bundle import Bundle, Language


def check_values(bundle: "Bundle") -> None:
    """Check what a manifest may hold of any type and value.

    Raises:
        BundleError: one is of the wrong type or out of range.
    """
    prepared, codec, reference = bundle.preprocessing, bundle.codec, bundle.reference
    top = codec.max_symbols_per_token
    asks = bundle.task == "vqa"
    checks = {
        "name": isinstance(bundle.name, str),
        "task": bundle.task in ("classify", "vqa"),
        "model": isinstance(bundle.model, dict),
        "depth": _whole(bundle.depth, 1),
        # A language model reads what leaves the tower, and nothing earlier.
        "split_layer": _whole(bundle.split_layer, bundle.depth if asks else 0) and bundle.split_layer <= bundle.depth,
        "width": _whole(bundle.width, 1),
        "patches": _whole(bundle.patches, 1),
        "prefix_tokens": _whole(bundle.prefix_tokens, 0),
        "labels": bool(bundle.labels) != asks and all(isinstance(label, str) for label in bundle.labels),
        "language": asks == (bundle.language is not None) and (not bundle.language or _is_language(bundle.language)),
        "preprocessing.size": _whole(prepared.size, 1),
        "preprocessing.crop": _real(prepared.crop) and 0 < prepared.crop <= 1,
        "preprocessing.interpolation": prepared.interpolation in list(RESAMPLING),
        "preprocessing.mean": len(prepared.mean) == 3 and all(_real(value) for value in prepared.mean),
        "preprocessing.std": len(prepared.std) == 3 and all(_real(value) and value > 0 for value in prepared.std),
        "merging.proportional_attention": isinstance(bundle.merging.proportional_attention, bool),
        "codec.hidden": _whole(codec.hidden, 1),
        "codec.max_symbols_per_token": _whole(top, 1),
        "codec.rates": bool(codec.rates) and all(_whole(rate, 1) and rate <= top for rate in codec.rates),
        "codec.encoder": isinstance(codec.encoder, str) and bool(codec.encoder),
        "codec.snr_db": len(codec.snr_db) == 2 and all(_real(value) for value in codec.snr_db),
        "reference.symbols_per_token": not reference
        or (_whole(reference.symbols_per_token, 1) and reference.symbols_per_token <= top),
        "files": all(isinstance(value, str) for value in bundle.files.values()),
        # A name in both would be checked against one of them only.
        "exports": all(isinstance(value, str) for value in bundle.exports.values())
        and not bundle.exports.keys() & bundle.files.keys(),
    }
    for name, is_right in checks.items():
        if not is_right:
            raise BundleError(f"bundle {bundle.folder.name}: its manifest has an impossible {name}")


def _whole(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_language(language: "Language") -> bool:
    checkpoint, prompt = language.checkpoint, language.prompt
    if not isinstance(checkpoint, str) or not isinstance(prompt, str):
        return False
    _, _, after = prompt.partition("<image>")
    return (
        bool(checkpoint)
        and checkpoint.isprintable()
        and ".." not in (*PurePosixPath(checkpoint).parts, *PureWindowsPath(checkpoint).parts)
        and isinstance(language.revision, str | None)
        and prompt.count("<image>") == prompt.count("{question}") == 1
        and "{question}" in after
    )
