"""What came of one way to send speech, utterance by utterance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.harness.report import Estimate, Interval
from offline.data.utterances import Utterances
from offline.measure.transcripts import error_rate


@dataclass(frozen=True)
class Outcome:
    """Of each utterance, in order.

    Attributes:
        utterances: which.
        errors: of the digits.
        tokens: that were sent.
        uses: of the channel.
        gmacs: of the device.
    """

    utterances: Utterances
    errors: NDArray[np.int64]
    tokens: NDArray[np.int64]
    uses: NDArray[np.float64]
    gmacs: NDArray[np.float64]

    @classmethod
    def of(cls, utterances: Utterances, content: dict[str, Any]) -> "Outcome":
        """From what JSON holds: a list for each field."""
        return cls(
            utterances,
            np.array(content["errors"], dtype=np.int64),
            np.array(content["tokens"], dtype=np.int64),
            np.array(content["uses"], dtype=np.float64),
            np.array(content["gmacs"], dtype=np.float64),
        )

    @property
    def rate(self) -> Estimate:
        """Errors as a share of the digits, in %."""
        return self._rate(self.errors.tolist())

    def change_from(self, other: "Outcome") -> Estimate:
        """The error rate less that of another way on the same utterances, in points."""
        return self._rate((self.errors - other.errors).tolist())

    @property
    def bounded(self) -> "Outcome":
        """With at most as many errors as digits in an utterance: a decoder that repeats itself is one failure.

        Otherwise one such utterance weighs as much as dozens of others.
        """
        return replace(self, errors=np.minimum(self.errors, self._digits))

    @property
    def repeats(self) -> float:
        """Share of the utterances with more errors than digits, in %."""
        return 100 * float((self.errors > self._digits).mean())

    @property
    def speakers(self) -> Interval:
        """The error rate, and the lowest and the highest of a speaker, in %."""
        digits = self._digits
        who = np.array([one.speaker for one in self.utterances.utterances])
        rates = [100 * self.errors[who == name].sum() / digits[who == name].sum() for name in sorted(set(who))]
        return Interval(self.rate.value, float(min(rates)), float(max(rates)))

    @property
    def uses_per_second(self) -> float:
        """Channel uses for each second of speech."""
        return float(self.uses.sum() / self.utterances.seconds.sum())

    @property
    def _digits(self) -> NDArray[np.int64]:
        return np.array([len(one.digits) for one in self.utterances.utterances], dtype=np.int64)

    def _rate(self, errors: Sequence[int]) -> Estimate:
        found = error_rate(errors, self._digits.tolist())
        return Estimate.percent(found.rate, found.se)
