"""A trial: a measured policy, with what suggested it and what it took."""

from datetime import datetime

from policies.record import MeasuredPolicy
from thinwire.records import NotNegative, record


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
