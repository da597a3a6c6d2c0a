"""A front: the policies of one bundle that were found for one channel."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from policies.policy import ChannelForm, MeasuredPolicy, channel_json
from thinwire.channels import Channel
from thinwire.errors import BundleError, BundleMismatchError, InvalidRequestError
from thinwire.records import read, record


@dataclass(frozen=True)
class Front:
    """Policies of one bundle, measured on one channel.

    Attributes:
        bundle_name: name of the bundle, for people.
        bundle_digest: digest of the bundle that every policy was measured with.
        policies: at least one, all of one channel and with as many thresholds, none twice.

    Raises:
        BundleError: the policies are none, repeated, of different channels or of different numbers of layers.
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
        if len({measured.policy.id for measured in self.policies}) < len(self.policies):
            raise BundleError("a front must not hold a policy twice")
        for measured in self.policies:
            if measured.bundle_digest != self.bundle_digest:
                raise BundleMismatchError(
                    f"policy {measured.policy.id} was measured with bundle {measured.bundle_digest}; "
                    f"the front is of {self.bundle_digest}"
                )
            if measured.channel != self.channel:
                raise BundleError(f"a front is of one channel, got {self.channel.name} and {measured.channel.name}")

    # Every request compares the channels of all fronts.
    @cached_property
    def channel(self) -> Channel:
        """The channel that every policy was measured on."""
        return self.policies[0].channel

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON of bundle, channel and policies, as hex."""
        return digest_of({"bundle": {"name": self.bundle_name, "digest": self.bundle_digest}, **self.to_json()})

    def to_json(self) -> dict[str, Any]:
        """The JSON form. The name of the bundle stands beside it; its digest stands in every policy."""
        return {"channel": channel_json(self.channel), "policies": [measured.to_json() for measured in self.policies]}

    @classmethod
    def from_json(cls, bundle_name: str, bundle_digest: str, content: object) -> "Front":
        """Read the JSON form.

        Raises:
            InvalidRequestError: a member is missing, unknown or wrong, or the policies are of another channel than the
                front says.
            BundleError, BundleMismatchError: as for `Front`.
        """
        form = read(_Form, content, "front")
        front = cls(bundle_name, bundle_digest, tuple(map(MeasuredPolicy.from_json, form.policies)))
        if front.channel != form.channel.read():
            raise InvalidRequestError(f"a front of {form.channel.read().name} holds policies of {front.channel.name}")
        return front


@record()
class _Form:
    """What stands in a file."""

    channel: ChannelForm
    policies: tuple[Any, ...]


def digest_of(content: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON, as hex."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
