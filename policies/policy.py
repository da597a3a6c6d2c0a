"""What a policy is: thresholds per layer, a rate and a limit on tokens, named by their digest."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from thinwire.errors import InvalidRequestError


@dataclass(frozen=True)
class Policy:
    """How hard to merge and how many symbols to spend.

    Attributes:
        thresholds: one cosine similarity per layer before the split; a layer merges what is more similar, and a
            threshold of 1 or more skips it.
        symbols_per_token: complex symbols per transmitted token.
        max_tokens: the most tokens to send, class and register tokens included; what leaves the last layer is merged
            further until it fits. None: no limit.

    Raises:
        InvalidRequestError: a threshold is not finite or below -1, or the rate or the limit is not positive.
    """

    thresholds: tuple[float, ...]
    symbols_per_token: int
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        for layer, threshold in enumerate(self.thresholds):
            if not math.isfinite(threshold) or threshold < -1:
                raise InvalidRequestError(f"threshold {layer} must be a number of at least -1, got {threshold}")
        if self.symbols_per_token < 1:
            raise InvalidRequestError(f"symbols_per_token must be at least 1, got {self.symbols_per_token}")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise InvalidRequestError(f"max_tokens must be at least 1, got {self.max_tokens}")

    @classmethod
    def create(cls, thresholds: Sequence[float], symbols_per_token: int, max_tokens: int | None = None) -> "Policy":
        """A policy in canonical form: thresholds to six decimals, and 1 for all that skip their layer."""
        canonical = tuple(min(1.0, round(float(value), 6)) for value in thresholds)
        return cls(canonical, int(symbols_per_token), None if max_tokens is None else int(max_tokens))

    @classmethod
    def unmerged(cls, layers: int, symbols_per_token: int) -> "Policy":
        """The policy that merges nothing."""
        return cls((1.0,) * layers, symbols_per_token)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, as hex; a limit that is not set is not part of it."""
        content: dict[str, object] = {
            "symbols_per_token": self.symbols_per_token,
            "thresholds": [float(value) + 0.0 for value in self.thresholds],
        }
        if self.max_tokens is not None:
            content["max_tokens"] = self.max_tokens
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def id(self) -> str:
        """Short name: "p-" and the first ten digits of the digest."""
        return f"p-{self.digest[:10]}"
