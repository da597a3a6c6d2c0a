"""What a store keeps: a study, which is the identity of one search; its trials; and what they are compared with."""

import hashlib
import json
from dataclasses import field, fields
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field

from policies.policy import MeasuredPolicy, Objectives
from thinwire.channels import Channel
from thinwire.records import JsonObject, NotNegative, Text, Whole, record


@record("study")
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
        settings: what else makes the search what it is, as its strategy and search space; anything that JSON holds.
        id: key in the store.
        created: when, in UTC.

    Raises:
        InvalidRequestError: a text is empty, the seed is out of range, or the settings are no JSON.
    """

    name: Text
    bundle_name: Text
    bundle_digest: Text
    channel: Channel
    split: Text
    data_digest: Text
    # The widest integer of a database is signed.
    seed: Annotated[Whole, Field(lt=2**63)]
    versions: dict[str, Text] = field(hash=False)
    settings: JsonObject = field(default_factory=dict, hash=False)
    id: int = field(default=0, compare=False)
    created: datetime = field(default_factory=lambda: datetime.now(UTC), compare=False)

    def differences(self, other: "Study") -> list[str]:
        """Where the identities of two studies differ: one text for each field or member, "name is this, got that"."""
        found = []
        for name in (one.name for one in fields(self) if one.compare):
            mine, theirs = getattr(self, name), getattr(other, name)
            if not isinstance(mine, dict):
                found += [f"{name} is {mine!r}, got {theirs!r}"] if mine != theirs else []
                continue
            for key in sorted(mine.keys() | theirs.keys()):
                here, there = (repr(one[key]) if key in one else "not set" for one in (mine, theirs))
                found += [f"{name}.{key} is {here}, got {there}"] if here != there else []
        return found


@record("trial")
class Trial:
    """One entry of a study's log.

    Attributes:
        measured: the policy and its figures.
        source: what suggested it, as "sobol"; empty if that was not told.
        seconds: what measuring it took; None if that was not told.
        suggesting_seconds: what suggesting it took; likewise.
        created: when it was kept, in UTC.

    Raises:
        InvalidRequestError: the source is no text, or a duration is negative or not finite.
    """

    measured: MeasuredPolicy
    source: str
    seconds: NotNegative | None
    suggesting_seconds: NotNegative | None
    created: datetime


@record("baseline")
class Baseline:
    """What policies are compared with, measured as they are.

    Attributes:
        family: its kind, as "unmerged", "tome" or "label".
        parameters: what tells it from others of its family, as its rate; anything that JSON holds.
        objectives: the figures, on the channel of the study that it belongs to.

    Raises:
        InvalidRequestError: the family is empty or the parameters are no JSON.
    """

    family: Text
    parameters: JsonObject = field(hash=False)
    objectives: Objectives

    @property
    def parameters_digest(self) -> str:
        """SHA-256 of the parameters' canonical JSON, as hex: names the baseline within its family."""
        return hashlib.sha256(json.dumps(self.parameters, sort_keys=True).encode()).hexdigest()
