"""A baseline: what something simpler than a policy achieves on a study's data and channel."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from policies.checks import json_object, members, text
from policies.record import Objectives


@dataclass(frozen=True)
class Baseline:
    """What policies are compared with, measured as they are.

    Attributes:
        family: its kind, as "unmerged", "tome" or "label".
        parameters: what tells it from others of its family, as its rate; anything that JSON holds.
        objectives: the figures, on the channel of the study that it belongs to.

    Raises:
        InvalidRequestError: the family is empty or the parameters are no JSON.
    """

    family: str
    parameters: dict[str, Any] = field(hash=False)
    objectives: Objectives

    def __post_init__(self) -> None:
        text("baseline.family", self.family)
        object.__setattr__(self, "parameters", json_object("baseline.parameters", self.parameters))

    @property
    def parameters_digest(self) -> str:
        """SHA-256 of the parameters' canonical JSON, as hex: names the baseline within its family."""
        return hashlib.sha256(json.dumps(self.parameters, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The JSON form, which `from_json` reads."""
        return {"family": self.family, "parameters": self.parameters, "objectives": asdict(self.objectives)}

    @classmethod
    def from_json(cls, content: object) -> "Baseline":
        """Read the JSON form.

        Raises:
            InvalidRequestError: a field is missing, unknown or wrong.
        """
        record = members("baseline", content, ["family", "parameters", "objectives"])
        figures = members("objectives", record["objectives"], [one.name for one in fields(Objectives)])
        return cls(record["family"], record["parameters"], Objectives(**figures))
