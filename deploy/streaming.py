"""What a stream of pictures through a running edge comes to."""

from array import array
from typing import TypeAlias

import numpy as np

from deploy.pictures import Picture
from thinwire.client import Answered
from thinwire.errors import ThinwireError
from thinwire.rest.schemas import ClassifyResponse

# A picture and its answer; or the error, where whoever asked takes that for one.
Seen: TypeAlias = Answered[Picture, ClassifyResponse | ThinwireError]


class Tally:
    """What a stream comes to, of any length: a few bytes are kept of each answer."""

    def __init__(self) -> None:
        self._times_ms = array("d")
        self._uses = self._switches = self._lost = 0
        self._began_s = self._ended_s = 0.0
        self._policy: str | None = None

    def add(self, answered: Seen) -> None:
        """Count an answer; they come in order."""
        answer = answered.answer
        if isinstance(answer, ThinwireError):
            self._lost += 1
            return
        # The cloud's plain model answers without a link and a policy.
        policy = answer.policy.id if answer.policy else None
        if not self._times_ms:
            self._began_s, self._policy = answered.began_s, policy
        self._switches += policy != self._policy
        self._policy = policy
        self._uses += answer.link.channel_uses if answer.link else 0
        self._times_ms.append(answered.milliseconds)
        self._ended_s = max(self._ended_s, answered.ended_s)

    def figures(self) -> dict[str, float] | None:
        """What was counted, from the first picture to the last answer; None: there was no answer.

        Returns:
            ``frames`` that were answered and ``frames_per_second``; ``lost``, those that were not;
            ``channel_uses_mean`` of a frame and ``channel_uses_per_second``; ``median_ms`` and ``p95_ms`` (the 95%
            quantile) of the time to answer; and ``policy_switches``, how often a frame's policy was not that of the
            frame before.
        """
        frames, seconds = len(self._times_ms), self._ended_s - self._began_s
        if not frames:
            return None
        median_ms, p95_ms = np.quantile(self._times_ms, (0.5, 0.95)).tolist()
        return {
            "frames": frames,
            "lost": self._lost,
            "frames_per_second": frames / seconds,
            "channel_uses_mean": self._uses / frames,
            "channel_uses_per_second": self._uses / seconds,
            "median_ms": median_ms,
            "p95_ms": p95_ms,
            "policy_switches": self._switches,
        }
