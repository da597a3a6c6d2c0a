"""Which modulation and code a source takes on a channel, chosen on *select*, and what comes of it on test images."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from experiments.digital.features import SharedImages
from experiments.digital.link import send
from experiments.digital.mcs import Scheme
from experiments.digital.source import Source
from thinwire.channels import Channel

ErrorRate = Callable[[Scheme, Channel], float]


def choose(source: Source, schemes: Sequence[Scheme], channel: Channel, error_rate: ErrorRate, guess: float) -> Scheme:
    """The scheme under which a source is right most often, not the one of a given error rate.

    Args:
        source: knows how right it is with so many bits.
        schemes: by their payload.
        channel: model and average SNR.
        error_rate: of frames, which must not fall with the payload.
        guess: share of right answers where nothing arrives.
    """
    scores = [source.score(scheme.payload) for scheme in schemes]
    best, best_accuracy = schemes[0], 0.0
    for number, (scheme, score) in enumerate(zip(schemes, scores, strict=True)):
        # More bits that are no more often right are never better, and need not be tried.
        if number and score <= max(scores[:number]):
            continue
        lost = error_rate(scheme, channel)
        accuracy = (1 - lost) * score + lost * guess
        if accuracy > best_accuracy:
            best, best_accuracy = scheme, accuracy
        if (1 - lost) * max(scores) + lost * guess <= best_accuracy:
            break
    return best


def measure(
    source: Source, scheme: Scheme, channel: Channel, test: SharedImages, guess: int, seed: int
) -> dict[str, Any]:
    """Send the test images.

    Where nothing arrives, or nothing was sent, the cloud says the class that is most frequent on *select*.

    Args:
        source: whose test images these are.
        scheme: how they are sent.
        channel: model and average SNR.
        test: names and labels.
        guess: that class.
        seed: of the keyed noise.

    Returns:
        what JSON holds: for each image 1 if it was answered ``right``, else 0; the shares that ``fit`` the frame, and
        that were ``lost``, which did not arrive as they were sent.
    """
    coded = source.encode(scheme.payload)
    received = send(coded.bits, scheme, channel, test.names, seed)
    same = (received.bits == coded.bits).all(axis=1)
    answers = np.where(coded.sent & received.accepted, coded.answers, guess)
    broken = coded.sent & received.accepted & ~same
    if broken.any():
        answers[broken] = source.answers(scheme.payload, received.bits[broken])
    return {
        "right": (answers == test.labels).astype(int).tolist(),
        "fit": float(coded.sent.mean()),
        "lost": float(1 - (received.accepted & same).mean()),
    }
