"""A study: the identity of one search, so that it resumes as what it began as."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from policies.checks import text, whole
from policies.record import ChannelProfile
from thinwire.errors import InvalidRequestError


@dataclass(frozen=True)
class Study:
    """What the policies of one search are measured with and on; ``id`` and ``created`` are no part of its identity.

    Attributes:
        name: unique in a store.
        bundle_name: name of the bundle.
        bundle_digest: its digest.
        channel: the channel of the objectives.
        split: the part of the data, as "select".
        data_digest: digest of that part.
        seed: of the search and the noise, below 2^63.
        versions: of the software, by name.
        id: key in the store.
        created: when, in UTC.

    Raises:
        InvalidRequestError: a text is empty or the seed is out of range.
    """

    name: str
    bundle_name: str
    bundle_digest: str
    channel: ChannelProfile
    split: str
    data_digest: str
    seed: int
    versions: dict[str, str] = field(hash=False)
    id: int = field(default=0, compare=False)
    created: datetime = field(default_factory=lambda: datetime.now(UTC), compare=False)

    def __post_init__(self) -> None:
        for name in ("name", "bundle_name", "bundle_digest", "split", "data_digest"):
            text(f"study.{name}", getattr(self, name))
        for name, version in self.versions.items():
            text(f"study.versions.{name}", version)
        object.__setattr__(self, "seed", whole("study.seed", self.seed, 0))
        if self.seed >= 2**63:
            # The widest integer of a database is signed.
            raise InvalidRequestError(f"study.seed must be below 2^63, got {self.seed}")
