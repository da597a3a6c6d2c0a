"""The bundle: one folder with all that the edge and the cloud must agree on. No pickle anywhere."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from thinwire.errors import BundleError
from thinwire.images import RESAMPLING, Preprocessing

SCHEMA_VERSION = 1
MANIFEST = "bundle.json"
FRONT = "policies.json"


@dataclass(frozen=True)
class Merging:
    """How layers merge; every engine obeys it.

    Attributes:
        metric: what similarity is measured on: "value" or "key" (all heads concatenated), or "key_mean" (mean over
            heads).
        weight: weights of the average within a group: "norm" (of the hidden states) or "size".
        proportional_attention: whether attention logits get the logarithm of the key token's size.
        place: "attention" merges between attention and MLP, "layer" after the layer.
    """

    metric: str = "value"
    weight: str = "norm"
    proportional_attention: bool = False
    place: str = "attention"

    def __post_init__(self) -> None:
        allowed = {
            "metric": ("value", "key", "key_mean"),
            "weight": ("norm", "size"),
            "place": ("attention", "layer"),
        }
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise BundleError(f"merging.{name} must be one of {', '.join(values)}, got {getattr(self, name)!r}")


@dataclass(frozen=True)
class Codec:
    """The JSCC pair.

    Attributes:
        hidden: width of the hidden layers of encoder and decoder.
        max_symbols_per_token: complex symbols per token at the highest rate; any lower rate masks channels.
        rates: symbols per token that policies use.
        snr_db: lowest and highest SNR that the pair was trained for.
    """

    hidden: int
    max_symbols_per_token: int
    rates: tuple[int, ...]
    snr_db: tuple[float, float]


@dataclass(frozen=True)
class Reference:
    """The unmerged model at its smallest rate within 0.5 points of its best, on *select*, AWGN, ``snr_db``."""

    symbols_per_token: int
    channel_uses: int
    accuracy: float
    accuracy_se: float
    n: int
    snr_db: float


@dataclass(frozen=True)
class Language:
    """The language model that answers questions about the tokens.

    Attributes:
        checkpoint: of a `LlavaForConditionalGeneration` with its tokenizer: a folder inside the bundle, an absolute
            folder, or an id on the Hugging Face hub.
        revision: of the hub's repository; None is its main branch.
        prompt: holds ``<image>`` once and, after it, ``{question}`` once.
    """

    checkpoint: str
    revision: str | None
    prompt: str


@dataclass(frozen=True)
class Bundle:
    """A bundle's manifest and where its files lie.

    Attributes:
        name: short name.
        task: "classify" or "vqa".
        model: specification of the backbone, for `thinwire.nn.backbone.build_backbone`.
        split_layer: the edge runs the blocks before it, the cloud those from it on; the depth puts only the head in
            the cloud.
        depth: number of transformer blocks.
        width: width D of the tokens.
        patches: patch tokens of one image.
        prefix_tokens: class and register tokens, which never merge and are always sent.
        labels: name of each class; empty for "vqa".
        preprocessing: from image to input.
        merging: how layers merge.
        codec: the JSCC pair.
        reference: the unmerged reference, measured after training; no part of the digest.
        files: SHA-256 of every file, by name; the policy front carries its own.
        language: what answers questions, for "vqa".
        folder: where the files are.
    """

    name: str
    task: str
    model: dict[str, Any]
    split_layer: int
    depth: int
    width: int
    patches: int
    prefix_tokens: int
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    merging: Merging
    codec: Codec
    files: dict[str, str]
    reference: Reference | None = None
    language: Language | None = None
    folder: Path = field(default=Path(), compare=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything that changes symbols or answers: the manifest with its files, less the reference.

        The policy front is left out, so that a new front can be exported without parting the edge from the cloud.
        """
        return hashlib.sha256(json.dumps(self._manifest(with_reference=False), sort_keys=True).encode()).hexdigest()

    def _manifest(self, with_reference: bool = True) -> dict[str, Any]:
        content = asdict(self)
        del content["folder"]
        if self.language is None:
            # So that bundles without one keep the digest that they always had.
            del content["language"]
        if not with_reference:
            del content["reference"]
        return {"schema_version": SCHEMA_VERSION, **content}

    def path(self, name: str) -> Path:
        """Where a file of the bundle is."""
        return self.folder / name

    def verified(self, name: str) -> Path:
        """Where a file is whose content the manifest vouches for.

        Raises:
            BundleError: the manifest does not list it, so `verify` has not seen it.
        """
        if name not in self.files:
            raise BundleError(f"bundle {self.name}: its manifest lists no {name}")
        return self.path(name)

    def save(self) -> None:
        """Write the manifest into the folder."""
        self.path(MANIFEST).write_text(json.dumps(self._manifest(), indent=2) + "\n")

    def verify(self) -> None:
        """Check every file against the manifest.

        Raises:
            BundleError: a file is missing or altered, or lies outside the folder.
        """
        for name, expected in self.files.items():
            if not _is_inside(name):
                raise BundleError(f"bundle {self.name}: {name!r} does not name a file inside its folder")
            if not self.path(name).is_file():
                raise BundleError(f"bundle {self.name}: {name} is missing")
            if file_sha256(self.path(name)) != expected:
                raise BundleError(f"bundle {self.name}: {name} was altered: its SHA-256 is not the manifest's")


def _check_values(bundle: Bundle) -> None:
    """Check the manifest's values one by one; whether they fit the weights shows when these are loaded.

    Raises:
        BundleError: one is of the wrong type or out of range.
    """
    prepared, codec, reference = bundle.preprocessing, bundle.codec, bundle.reference
    top = codec.max_symbols_per_token
    checks = {
        "name": isinstance(bundle.name, str),
        "task": isinstance(bundle.task, str),
        "model": isinstance(bundle.model, dict),
        "depth": _whole(bundle.depth, 1),
        "split_layer": _whole(bundle.split_layer, 0) and bundle.split_layer <= bundle.depth,
        "width": _whole(bundle.width, 1),
        "patches": _whole(bundle.patches, 1),
        "prefix_tokens": _whole(bundle.prefix_tokens, 0),
        "labels": bool(bundle.labels or bundle.task == "vqa")
        and all(isinstance(label, str) for label in bundle.labels),
        "preprocessing.size": _whole(prepared.size, 1),
        "preprocessing.crop": _real(prepared.crop) and 0 < prepared.crop <= 1,
        "preprocessing.interpolation": prepared.interpolation in list(RESAMPLING),
        "preprocessing.mean": len(prepared.mean) == 3 and all(_real(value) for value in prepared.mean),
        "preprocessing.std": len(prepared.std) == 3 and all(_real(value) and value > 0 for value in prepared.std),
        "merging.proportional_attention": isinstance(bundle.merging.proportional_attention, bool),
        "codec.hidden": _whole(codec.hidden, 1),
        "codec.max_symbols_per_token": _whole(top, 1),
        "codec.rates": bool(codec.rates) and all(_whole(rate, 1) and rate <= top for rate in codec.rates),
        "codec.snr_db": len(codec.snr_db) == 2 and all(_real(value) for value in codec.snr_db),
        "reference.symbols_per_token": not reference
        or (_whole(reference.symbols_per_token, 1) and reference.symbols_per_token <= top),
        "files": all(isinstance(value, str) for value in bundle.files.values()),
    }
    for name, is_right in checks.items():
        if not is_right:
            raise BundleError(f"bundle {bundle.folder.name}: its manifest has an impossible {name}")


def _whole(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_inside(name: str) -> bool:
    # By the rules of both systems, wherever the bundle is read.
    paths = (PurePosixPath(name), PureWindowsPath(name))
    return not any(path.anchor or ".." in path.parts for path in paths)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def shipped() -> Path:
    """The folder of the bundles that come with the package."""
    return Path(str(resources.files("thinwire"))) / "bundles"


def load_bundle(name_or_folder: str | Path) -> Bundle:
    """Load and verify a bundle.

    Args:
        name_or_folder: the name of a shipped bundle, or a folder.

    Raises:
        BundleError: there is none, its schema is another, or a file is missing or altered.
    """
    folder = Path(name_or_folder)
    try:
        # Raises for a name that is too long.
        if not folder.is_dir():
            folder = shipped() / str(name_or_folder)
        content = json.loads((folder / MANIFEST).read_text())
    # A manifest nested too deeply ends in a RecursionError.
    except (OSError, ValueError, RecursionError) as error:
        known = ", ".join(sorted(path.parent.name for path in shipped().glob(f"*/{MANIFEST}")))
        raise BundleError(f"no readable bundle {name_or_folder}: {error} (shipped: {known})") from None
    if not isinstance(content, dict):
        raise BundleError(f"bundle {folder.name}: its manifest is no JSON object")
    version = content.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise BundleError(f"bundle {folder.name} has schema {version}; this version reads {SCHEMA_VERSION}")
    try:
        codec, prepared, reference = content["codec"], content["preprocessing"], content.get("reference")
        language = content.get("language")
        bundle = Bundle(
            **content
            | {
                "labels": tuple(content["labels"]),
                "preprocessing": Preprocessing(**prepared | {k: tuple(prepared[k]) for k in ("mean", "std")}),
                "merging": Merging(**content["merging"]),
                "codec": Codec(**codec | {k: tuple(codec[k]) for k in ("rates", "snr_db")}),
                "files": dict(content["files"]),
                "reference": Reference(**reference) if reference else None,
                "language": Language(**language) if language else None,
                "folder": folder,
            }
        )
        _check_values(bundle)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"bundle {folder.name}: its manifest is incomplete or wrong: {error}") from None
    bundle.verify()
    return bundle
