"""The bundle: one folder with all that the edge and the cloud must agree on. No pickle anywhere."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import resources
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Self

from thinwire.bundle_checks import check_values
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.images import Preprocessing

SCHEMA_VERSION = 1
MANIFEST = "bundle.json"
FRONT = "policies.json"
# The encoder of a codec that names none.
MLP = "mlp"


@dataclass(frozen=True)
class Merging:
    """How layers merge; every engine obeys it.

    Attributes:
        metric: what similarity is measured on: "value" or "key" (all heads concatenated), "value_head" (of the first
            head alone), or "key_mean" (mean over heads).
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
            "metric": ("value", "value_head", "key", "key_mean"),
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
        encoder: architecture of the encoder, by its name in `thinwire.nn.codec.registry`.
    """

    hidden: int
    max_symbols_per_token: int
    rates: tuple[int, ...]
    snr_db: tuple[float, float]
    encoder: str = MLP

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Read what a manifest or a recipe holds.

        Raises:
            KeyError, TypeError: a field is missing, unknown, or no list where it should be one.
        """
        return cls(**{**content, **{key: tuple(content[key]) for key in ("rates", "snr_db")}})


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
    """The model that answers questions about the tokens: a ``LlavaForConditionalGeneration``, as transformers saves it.

    Attributes:
        checkpoint: a folder inside the bundle, an absolute one, or the id of a repository on the hub.
        revision: of the repository; None for its main branch.
        prompt: what the model is asked, with ``<image>`` once and, after it, ``{question}`` once.
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
        model: specification of the backbone, for `thinwire.nn.towers.registry.build_tower`.
        split_layer: the edge runs the blocks before it, the cloud those from it on; the depth puts only the head in
            the cloud.
        depth: number of transformer blocks; of a tower with a feature layer, those that lead to it.
        width: width D of the tokens.
        patches: patch tokens of one image.
        prefix_tokens: class and register tokens that are sent; they never merge. Fewer than the tower runs where the
            head discards them.
        labels: name of each class; none of a bundle that answers questions.
        preprocessing: from image to input.
        merging: how layers merge.
        codec: the JSCC pair.
        language: what answers questions, in a bundle that does.
        reference: the unmerged reference, measured after training; no part of the digest.
        files: SHA-256 of every file, by name; the policy front carries its own.
        exports: SHA-256 of the same models as graphs for engines without torch, by name; no part of the digest, since
            they are the same function as the weights.
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
    exports: dict[str, str] = field(default_factory=dict)
    folder: Path = field(default=Path(), compare=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all that changes symbols or answers: the manifest with its files, less reference and exports.

        The policy front is left out, so that a new front can be exported without parting the edge from the cloud.
        """
        content = self._manifest()
        for name in ("reference", "exports"):
            content.pop(name, None)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _manifest(self) -> dict[str, Any]:
        content = asdict(self)
        del content["folder"]
        # Absent rather than null: a bundle that only classifies keeps its digest.
        if self.language is None:
            del content["language"]
        if not self.exports:
            del content["exports"]
        # Absent as well, so that a bundle of the first architecture keeps its digest.
        if self.codec.encoder == MLP:
            del content["codec"]["encoder"]
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

    def exported(self, name: str) -> Path:
        """Where an exported graph is.

        Raises:
            BundleError: the manifest lists none of that name, so `verify` has not seen it.
        """
        if name not in self.exports:
            raise BundleError(f"bundle {self.name}: it was not exported, there is no {name} (thinwire bundle export)")
        return self.path(name)

    def save(self) -> None:
        """Write the manifest into the folder."""
        self.path(MANIFEST).write_text(json.dumps(self._manifest(), indent=2) + "\n")

    def verify(self) -> None:
        """Check every file against the manifest.

        Raises:
            BundleError: a file is missing or altered, or lies outside the folder, or the folder of the language model
                holds one that the manifest does not list.
        """
        for name, expected in (self.files | self.exports).items():
            if not _is_inside(name):
                raise BundleError(f"bundle {self.name}: {name!r} does not name a file inside its folder")
            if not self.path(name).is_file():
                raise BundleError(f"bundle {self.name}: {name} is missing")
            if file_sha256(self.path(name)) != expected:
                raise BundleError(f"bundle {self.name}: {name} was altered: its SHA-256 is not the manifest's")
        for name in self._language_files():
            self.verified(name)

    def _language_files(self) -> list[str]:
        # The library that reads the folder takes whatever lies in it.
        if self.language is None or Path(self.language.checkpoint).is_absolute():
            return []
        inside = self.path(self.language.checkpoint).rglob("*")
        files = [path for path in inside if path.is_symlink() or not path.is_dir()]
        return sorted(path.relative_to(self.folder).as_posix() for path in files)


def _is_inside(name: str) -> bool:
    # By the rules of both systems, wherever the bundle is read.
    paths = (PurePosixPath(name), PureWindowsPath(name))
    return not any(path.anchor or ".." in path.parts for path in paths)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def checkpoint_digest(folder: Path) -> str:
    """What pins a checkpoint in a folder of its own: SHA-256 over names and contents of its files, as hex."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{path.relative_to(folder).as_posix()} {file_sha256(path)}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


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
        prepared, reference = content["preprocessing"], content.get("reference")
        language = content.get("language")
        bundle = Bundle(
            **content
            | {
                "labels": tuple(content["labels"]),
                "preprocessing": Preprocessing(**prepared | {k: tuple(prepared[k]) for k in ("mean", "std")}),
                "merging": Merging(**content["merging"]),
                "codec": Codec.from_json(content["codec"]),
                "files": dict(content["files"]),
                "exports": dict(content.get("exports", {})),
                "reference": Reference(**reference) if reference else None,
                "language": Language(**language) if language else None,
                "folder": folder,
            }
        )
        check_values(bundle)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"bundle {folder.name}: its manifest is incomplete or wrong: {error}") from None
    bundle.verify()
    return bundle


def check_tasks(bundles: Sequence[Bundle]) -> None:
    """Check that bundles can be served side by side: a request names its task and not its bundle.

    Raises:
        InvalidRequestError: there is none, or two are for one task.
    """
    tasks = [bundle.task for bundle in bundles]
    if not tasks or len(set(tasks)) < len(tasks):
        given = ", ".join(f"{bundle.name} ({bundle.task})" for bundle in bundles) or "none"
        raise InvalidRequestError(f"expected one bundle for each task, got {given}")
