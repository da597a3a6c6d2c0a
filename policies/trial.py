"""A trial: a measured policy, with what suggested it and what it took."""

from dataclasses import dataclass
from datetime import datetime

from policies.checks import real
from policies.record import MeasuredPolicy
from thinwire.errors import InvalidRequestError


@dataclass(frozen=True)
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
    seconds: float | None
    suggesting_seconds: float | None
    created: datetime

    def __post_init__(self) -> None:
        if not isinstance(self.source, str):
            raise InvalidRequestError(f"trial.source must be a text, got {self.source!r}")
        for name in ("seconds", "suggesting_seconds"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, real(f"trial.{name}", value, 0))
