"""The bundle: one folder with all that the edge and the cloud must agree on. No pickle anywhere."""

import hashlib
import json
from dataclasses import asdict, field
from functools import cached_property
from importlib import resources
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from thinwire.bundle.parts import MLP, Codec, Language, Merging, Reference, Speech
from thinwire.errors import BundleError
from thinwire.images import Preprocessing
from thinwire.records import Count, Name, Whole, record

SCHEMA_VERSION = 1
MANIFEST = "bundle.json"
FRONT = "policies.json"
# Whose the weights are, where they are derived; for readers alone.
NOTICE = "NOTICE"
BACKBONE = "backbone.safetensors"
# To a type checker it is there, as in all bundles that see: whether it is follows from the task, which `load_bundle`
# checks.
if TYPE_CHECKING:
    _Preprocessing: TypeAlias = Preprocessing
else:
    _Preprocessing = Preprocessing | None


def shipped() -> Path:
    """The folder of the bundles that come with the package."""
    return Path(str(resources.files("thinwire"))) / "bundles"


@record(error=BundleError)
class Bundle:
    """A bundle's manifest and where its files lie.

    Attributes:
        name: short name.
        task: "classify", "vqa" or "transcription".
        model: specification of the backbone, for `thinwire.nn.towers.registry.build_tower`.
        split_layer: the edge runs the blocks before it, the cloud those from it on; the depth puts only the head in
            the cloud.
        depth: number of transformer blocks; of a tower with a feature layer, those that lead to it.
        width: width D of the tokens.
        patches: patch tokens of one image; positions of one clip.
        prefix_tokens: class and register tokens that are sent; they never merge. Fewer than the tower runs where the
            head discards them.
        labels: name of each class; none of a bundle that answers in words.
        preprocessing: from image to input; None, and absent, of a bundle that hears, which nobody asks for it.
        merging: how layers merge.
        codec: the JSCC pair.
        language: what answers questions, in a bundle that does.
        speech: what writes down clips, in a bundle that does.
        reference: the unmerged reference, measured after training; no part of the digest.
        files: SHA-256 of every file, by name; the policy front carries its own.
        exports: SHA-256 of the same models as graphs for engines without torch, by name; no part of the digest, since
            they are the same function as the weights.
        backbone: name of the bundle whose `BACKBONE` this one has, in a folder beside its own or a shipped one; None
            where it has a file of its own. No part of the digest: ``files`` says which weights they are.
        folder: where the files are.
    """

    name: str
    task: Literal["classify", "vqa", "transcription"]
    model: dict[str, Any]
    split_layer: Whole
    depth: Count
    width: Count
    patches: Count
    prefix_tokens: Whole
    labels: tuple[str, ...]
    merging: Merging
    codec: Codec
    files: dict[str, str]
    preprocessing: _Preprocessing = cast(Preprocessing, None)
    reference: Reference | None = None
    language: Language | None = None
    speech: Speech | None = None
    exports: dict[str, str] = field(default_factory=dict)
    backbone: Name | None = None
    folder: Path = field(default=Path(), compare=False)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over all that changes symbols or answers: the manifest less reference, exports and backbone's lender.

        The policy front is left out, so that a new front can be exported without parting the edge from the cloud.
        """
        content = self._manifest()
        for name in ("reference", "exports", "backbone"):
            content.pop(name, None)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def steps(self) -> int:
        """How often tokens may merge, which is how many thresholds a policy has."""
        return self.split_layer + self.merging.front

    def _manifest(self) -> dict[str, Any]:
        content = asdict(self)
        del content["folder"]
        # Absent rather than null: a bundle that only classifies keeps its digest.
        for name in ("language", "speech", "preprocessing"):
            if content[name] is None:
                del content[name]
        if not self.exports:
            del content["exports"]
        if self.backbone is None:
            del content["backbone"]
        # Absent as well, so that a bundle of the first architecture keeps its digest.
        if self.codec.encoder == MLP:
            del content["codec"]["encoder"]
        if "preprocessing" in content and self.preprocessing.fit == "crop":
            del content["preprocessing"]["fit"]
        if not self.merging.neighbours:
            del content["merging"]["neighbours"]
        for name in ("front", "front_rounds"):
            if not content["merging"][name]:
                del content["merging"][name]
        return {"schema_version": SCHEMA_VERSION, **content}

    def path(self, name: str) -> Path:
        """Where a file of the bundle is: in its folder, but for a backbone that another bundle lends."""
        return (self._lender if name == BACKBONE and self.backbone is not None else self.folder) / name

    @property
    def _lender(self) -> Path:
        assert self.backbone is not None
        own = self.folder.resolve()
        beside = own.parent / self.backbone
        return beside if beside != own and (beside / MANIFEST).is_file() else shipped() / self.backbone

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

    def lacking(self) -> list[str]:
        """The files that the manifest lists and that are not there."""
        return [name for name in self.files | self.exports if not self.path(name).is_file()]

    def verify(self) -> None:
        """Check every file against the manifest.

        Raises:
            BundleError: a file is missing or altered, or lies outside the folder, or the folder of its checkpoint
                holds one that the manifest does not list; or no bundle lends the backbone.
        """
        self._check_lender()
        for name, expected in (self.files | self.exports).items():
            if not _is_inside(name):
                raise BundleError(f"bundle {self.name}: {name!r} does not name a file inside its folder")
            if not self.path(name).is_file():
                raise BundleError(f"bundle {self.name}: {name} is missing")
            if file_sha256(self.path(name)) != expected:
                raise BundleError(f"bundle {self.name}: {name} was altered: its SHA-256 is not the manifest's")
        for name in self._checkpoint_files():
            self.verified(name)

    def _check_lender(self) -> None:
        if self.backbone is None:
            return
        what, path = f"bundle {self.name}: {BACKBONE} is lent by {self.backbone}", self.path(BACKBONE)
        if BACKBONE not in self.files:
            raise BundleError(f"{what}, but not listed under files")
        if path.parent.is_symlink() or path.is_symlink():
            raise BundleError(f"{what}, but {path} is a link")
        if not path.is_file():
            raise BundleError(f"{what}, which is neither beside {self.folder} nor shipped with that file")
        if file_sha256(path) != self.files[BACKBONE]:
            raise BundleError(f"{what}, but {path} is another: its SHA-256 is not the manifest's")

    def _checkpoint_files(self) -> list[str]:
        # The library that reads the folder takes whatever lies in it.
        model = self.language or self.speech
        if model is None or Path(model.checkpoint).is_absolute():
            return []
        inside = self.path(model.checkpoint).rglob("*")
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
