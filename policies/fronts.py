"""The fronts of one bundle, one per channel, as a JSON file that serving chooses from and rereads when it changes."""

import json
import logging
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from policies.files import write_whole
from policies.front import Front, digest_of
from policies.policy import MeasuredPolicy
from thinwire.channels import Channel
from thinwire.errors import BundleError, BundleMismatchError, InvalidRequestError, UnknownPolicyError
from thinwire.records import Text, read, read_file, record

SCHEMA_VERSION = 2
# The model whose fronts serve channels that nothing was measured on.
FALLBACK_MODEL = "awgn"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fronts:
    """The fronts of one bundle.

    Attributes:
        fronts: at least one, all of one bundle, at most one per channel model and SNR, in any order; kept by model and
            rising SNR.

    Raises:
        BundleError: the fronts are none, two of one channel, or of different numbers of layers.
        BundleMismatchError: they are of different bundles.
    """

    fronts: tuple[Front, ...]

    def __post_init__(self) -> None:
        if not self.fronts:
            raise BundleError("a file of policies needs at least one front, got none")
        ordered = sorted(self.fronts, key=lambda front: (front.channel.model, front.channel.snr_db))
        object.__setattr__(self, "fronts", tuple(ordered))
        bundles = sorted({(front.bundle_name, front.bundle_digest) for front in self.fronts})
        if len(bundles) > 1:
            raise BundleMismatchError(f"fronts must be of one bundle, got {bundles}")
        if len({(front.channel.model, front.channel.snr_db) for front in self.fronts}) < len(self.fronts):
            channels = ", ".join(front.channel.name for front in self.fronts)
            raise BundleError(f"at most one front per channel model and SNR, got {channels}")
        lengths = sorted({len(measured.policy.thresholds) for measured in self.policies})
        if len(lengths) > 1:
            raise BundleError(f"all fronts must have as many thresholds in each policy, got {lengths}")

    @property
    def bundle_name(self) -> str:
        """Name of the bundle, for people."""
        return self.fronts[0].bundle_name

    @property
    def bundle_digest(self) -> str:
        """Digest of the bundle that every policy was measured with."""
        return self.fronts[0].bundle_digest

    @property
    def policies(self) -> tuple[MeasuredPolicy, ...]:
        """The policies of all fronts; one that is on several stands here as often, each time as measured there."""
        return tuple(measured for front in self.fronts for measured in front.policies)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of all content, as hex."""
        return digest_of(self._content())

    def get(self, policy_id: str) -> tuple[MeasuredPolicy, ...]:
        """What was measured of the policy of that id: once for each front that holds it.

        Raises:
            UnknownPolicyError: no front does.
        """
        found = tuple(measured for measured in self.policies if measured.policy.id == policy_id)
        if not found:
            raise UnknownPolicyError(
                f"no front of bundle {self.bundle_name} has a policy {policy_id[:80]!r}; "
                "list its policies with GET /v1/policies or `thinwire policies list`"
            )
        return found

    def nearest_first(self, channel: Channel) -> tuple[Front, ...]:
        """All fronts, by how well they suit a channel.

        Those of the channel's own model come first, and of them those of the same parameters; then those of AWGN, then
        all others: a model that is unknown, or that nothing was measured on, is served as AWGN if that was measured.
        Among them the nearer in SNR comes first, and of two as near that of the lower SNR.
        """

        def distance(front: Front) -> tuple[bool, bool, bool, float, float]:
            own = front.channel
            return (
                own.model != channel.model,
                own.family != channel.family,
                own.model != FALLBACK_MODEL,
                abs(own.snr_db - channel.snr_db),
                own.snr_db,
            )

        return tuple(sorted(self.fronts, key=distance))

    def nearest(self, channel: Channel) -> Front:
        """The first of `nearest_first`."""
        return self.nearest_first(channel)[0]

    def _content(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "bundle": {"name": self.bundle_name, "digest": self.bundle_digest},
            "fronts": [front.to_json() for front in self.fronts],
        }

    def to_json(self) -> dict[str, Any]:
        """The content of the file: the fronts with their digest."""
        return {**self._content(), "digest": self.digest}

    def save(self, path: Path) -> None:
        """Write the file whole or not at all: readers meet the old one or the new one, also after a power cut.

        Raises:
            BundleError: it cannot be written.
        """
        content = json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n"
        try:
            write_whole(path, content.encode())
        except OSError as error:
            raise BundleError(f"cannot write the policy fronts {path}: {error}") from None

    @classmethod
    def load(cls, path: Path, bundle_digest: str) -> "Fronts":
        """Read a file and check it.

        Args:
            path: the file.
            bundle_digest: digest of the bundle that the fronts must belong to.

        Raises:
            BundleError: it is missing, no JSON, of another schema, incomplete or altered.
            BundleMismatchError: it belongs to another bundle.
        """
        try:
            content = read_file(path)
        except (OSError, ValueError) as error:
            raise BundleError(f"no readable policy fronts {path}: {error}") from None
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != SCHEMA_VERSION:
            raise BundleError(f"policy fronts {path} have schema {version}; this version reads {SCHEMA_VERSION}")
        try:
            fronts = cls._from_json(content)
        except (InvalidRequestError, BundleError) as error:
            raise BundleError(f"policy fronts {path}: {error}") from None
        if fronts.digest != content["digest"]:
            raise BundleError(f"{path} was altered: its digest is {fronts.digest}, not the one it states")
        if fronts.bundle_digest != bundle_digest:
            raise BundleMismatchError(
                f"policy fronts {path} belong to bundle {fronts.bundle_name} {fronts.bundle_digest}, "
                f"expected {bundle_digest}; search again, or export fronts of this bundle"
            )
        return fronts

    @classmethod
    def _from_json(cls, content: dict[str, Any]) -> "Fronts":
        form = read(_Form, content)
        return cls(tuple(Front.from_json(form.bundle.name, form.bundle.digest, front) for front in form.fronts))


@record()
class _Owner:
    name: Text
    digest: Text


@record()
class _Form:
    """What stands in a file."""

    schema_version: int
    bundle: _Owner
    fronts: tuple[Any, ...]
    digest: str


class FrontFile:
    """The file of fronts that is served from, read again whenever it changed.

    Args:
        path: the file; where there is none yet, nothing was measured, and only the unmerged model can be asked for.
        bundle_digest: digest of the bundle that every version of it must belong to.

    Raises:
        BundleError: the one to start with is not valid.
        BundleMismatchError: it belongs to another bundle.
    """

    def __init__(self, path: Path, bundle_digest: str) -> None:
        self._path = path
        self._bundle_digest = bundle_digest
        self._lock = threading.Lock()
        # Taken before the content is read: what changes in between is then seen at the next access.
        self._version = self._stat()
        self._fronts = None if self._version is None else Fronts.load(path, bundle_digest)

    @property
    def current(self) -> Fronts | None:
        """The newest valid fronts, or None before there were any; costs one stat when nothing changed.

        A new version that is broken is logged once, and the last good one stays.
        """
        if self._stat() == self._version:
            return self._fronts
        with self._lock:
            version = self._stat()
            if version != self._version:
                self._version = version
                self._reload()
            return self._fronts

    def _reload(self) -> None:
        try:
            fronts = Fronts.load(self._path, self._bundle_digest)
        except (BundleError, BundleMismatchError) as error:
            _log.error("keeping policy fronts %s: %s", self._fronts.digest if self._fronts else "none", error)
            return
        self._fronts = fronts
        _log.info("serving policy fronts %s: %s", fronts.digest, ", ".join(one.channel.name for one in fronts.fronts))

    def _stat(self) -> tuple[int, ...] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        # The change time and the inode tell apart two versions of one size within the clock's grain.
        return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
