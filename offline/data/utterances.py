"""Utterances to measure a bundle on that writes down speech."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offline.data.digits import DIGITS, Utterance, load_recordings, make_utterance, split_select
from thinwire.audio import SAMPLE_RATE
from thinwire.errors import InvalidRequestError

# How often each recording is heard on average, where no number of utterances is asked for.
HEARD = 2


@dataclass(frozen=True)
class Utterances:
    """Utterances with what was said in each."""

    utterances: tuple[Utterance, ...]

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def names(self) -> tuple[str, ...]:
        """Of each; it keys the noise of an evaluation."""
        return tuple(one.name for one in self.utterances)

    @property
    def seconds(self) -> NDArray[np.float64]:
        """How long each is."""
        return np.array([len(one.audio) / SAMPLE_RATE for one in self.utterances])

    def take(self, indices: NDArray[np.int64]) -> "Utterances":
        """The utterances at these indices, in this order."""
        return Utterances(tuple(self.utterances[index] for index in indices))

    def even_sample(self, limit: int) -> "Utterances":
        """The first ``limit``: their speakers take turns."""
        return Utterances(self.utterances[:limit])

    def digest(self) -> str:
        """SHA-256 over names, digits and samples, as hex."""
        content = hashlib.sha256(json.dumps([self.names, [one.digits for one in self.utterances]]).encode())
        for one in self.utterances:
            content.update(one.audio.tobytes())
        return content.hexdigest()


def load_utterances(source: str, select: bool = False, limit: int | None = None, digits: int = DIGITS) -> Utterances:
    """Make utterances of the recordings in a tar.

    Args:
        source: see `offline.data.digits.load_recordings`.
        select: only of those recordings that are kept from training.
        limit: how many, from the first on; by default so many that each recording is heard `HEARD` times on average.
        digits: of each.

    Raises:
        InvalidRequestError: it is no such tar, or a speaker has too few recordings in it.
    """
    recordings = load_recordings(source)
    chosen = split_select(recordings)[1] if select else recordings
    if not chosen:
        raise InvalidRequestError(f"of the {len(recordings)} recordings of {source}, none is of the select split")
    count = max(1, HEARD * len(chosen) // digits) if limit is None else limit
    return Utterances(tuple(make_utterance(chosen, number, digits) for number in range(count)))
