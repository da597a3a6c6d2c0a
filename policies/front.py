"""The front: the policies of one bundle that serving chooses from, as a JSON file that is reread when it changes."""

import contextlib
import hashlib
import json
import logging
import os
import secrets
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from policies.checks import members, text
from policies.record import MeasuredPolicy
from thinwire.errors import BundleError, BundleMismatchError, InvalidRequestError, UnknownPolicyError

SCHEMA_VERSION = 2

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Front:
    """Measured policies of one bundle.

    Attributes:
        bundle_name: name of the bundle, for people.
        bundle_digest: digest of the bundle that every policy was measured with.
        policies: at least one, all with as many thresholds, none twice.

    Raises:
        BundleError: the policies are none, repeated, or of different numbers of layers.
        BundleMismatchError: a policy was measured with another bundle.
    """

    bundle_name: str
    bundle_digest: str
    policies: tuple[MeasuredPolicy, ...]

    def __post_init__(self) -> None:
        if not self.policies:
            raise BundleError(f"a front of bundle {self.bundle_name} needs at least one policy, got none")
        lengths = sorted({len(measured.policy.thresholds) for measured in self.policies})
        if len(lengths) > 1:
            raise BundleError(f"the policies of a front must have as many thresholds each, got {lengths}")
        if len(self._by_id) < len(self.policies):
            raise BundleError("a front must not hold a policy twice")
        for measured in self.policies:
            if measured.bundle_digest != self.bundle_digest:
                raise BundleMismatchError(
                    f"policy {measured.policy.id} was measured with bundle {measured.bundle_digest}; "
                    f"the front is of {self.bundle_digest}"
                )

    @cached_property
    def _by_id(self) -> dict[str, MeasuredPolicy]:
        return {measured.policy.id: measured for measured in self.policies}

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of all content, as hex."""
        canonical = json.dumps(self._content(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def _content(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "bundle": {"name": self.bundle_name, "digest": self.bundle_digest},
            "policies": [measured.to_json() for measured in self.policies],
        }

    def to_json(self) -> dict[str, Any]:
        """The content of the file: the front with its digest."""
        return {**self._content(), "digest": self.digest}

    def get(self, policy_id: str) -> MeasuredPolicy:
        """The policy of that id.

        Raises:
            UnknownPolicyError: there is none.
        """
        try:
            return self._by_id[policy_id]
        except KeyError:
            raise UnknownPolicyError(
                f"the front of bundle {self.bundle_name} has no policy {policy_id[:80]!r}; "
                "list its policies with GET /v1/policies or `thinwire policies list`"
            ) from None

    def save(self, path: Path) -> None:
        """Write the file whole or not at all: readers meet the old one or the new one, also after a power cut.

        Raises:
            BundleError: it cannot be written.
        """
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with temporary.open("x", encoding="utf-8") as stream:
                stream.write(json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
            # The rename itself lasts only once the folder is on the disk.
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise BundleError(f"cannot write the policy front {path}: {error}") from None
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()

    @classmethod
    def load(cls, path: Path, bundle_digest: str) -> "Front":
        """Read a file and check it.

        Args:
            path: the file.
            bundle_digest: digest of the bundle that the front must belong to.

        Raises:
            BundleError: it is missing, no JSON, of another schema, incomplete or altered.
            BundleMismatchError: it belongs to another bundle.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise BundleError(f"no readable policy front {path}: {error}") from None
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != SCHEMA_VERSION:
            raise BundleError(f"policy front {path} has schema {version}; this version reads {SCHEMA_VERSION}")
        try:
            front = cls._from_json(content)
        except (InvalidRequestError, BundleError) as error:
            raise BundleError(f"policy front {path}: {error}") from None
        if front.digest != content["digest"]:
            raise BundleError(f"policy front {path} was altered: its digest is {front.digest}, not the one it states")
        if front.bundle_digest != bundle_digest:
            raise BundleMismatchError(
                f"policy front {path} belongs to bundle {front.bundle_name} {front.bundle_digest}, "
                f"expected {bundle_digest}; search again, or export a front of this bundle"
            )
        return front

    @classmethod
    def _from_json(cls, content: dict[str, Any]) -> "Front":
        record = members("front", content, ["schema_version", "bundle", "policies", "digest"])
        bundle = members("bundle", record["bundle"], ["name", "digest"])
        if not isinstance(record["policies"], list):
            raise InvalidRequestError(f"policies must be a list, got {type(record['policies']).__name__}")
        policies = tuple(MeasuredPolicy.from_json(policy) for policy in record["policies"])
        return cls(text("bundle.name", bundle["name"]), text("bundle.digest", bundle["digest"]), policies)


class FrontFile:
    """A front's file that is served from, read again whenever it changed.

    Args:
        path: the file.
        bundle_digest: digest of the bundle that every version of it must belong to.

    Raises:
        BundleError: there is no valid front to start with.
        BundleMismatchError: it belongs to another bundle.
    """

    def __init__(self, path: Path, bundle_digest: str) -> None:
        self._path = path
        self._bundle_digest = bundle_digest
        self._lock = threading.Lock()
        # Taken before the content is read: what changes in between is then seen at the next access.
        self._version = self._stat()
        self._front = Front.load(path, bundle_digest)

    @property
    def current(self) -> Front:
        """The newest valid front; costs one stat when nothing changed.

        A new version that is broken is logged once, and the last good one stays.
        """
        if self._stat() == self._version:
            return self._front
        with self._lock:
            version = self._stat()
            if version != self._version:
                self._version = version
                self._reload()
            return self._front

    def _reload(self) -> None:
        try:
            front = Front.load(self._path, self._bundle_digest)
        except (BundleError, BundleMismatchError) as error:
            _log.error("keeping policy front %s: %s", self._front.digest, error)
            return
        self._front = front
        _log.info("serving policy front %s with %d policies", front.digest, len(front.policies))

    def _stat(self) -> tuple[int, ...] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        # The change time and the inode tell apart two versions of one size within the clock's grain.
        return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
