"""A baseline: what something simpler than a policy achieves on a study's data and channel."""

import hashlib
import json
from dataclasses import asdict, field
from typing import Any

from policies.record import Objectives
from thinwire.records import JsonObject, Text, record


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

    def to_json(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)
