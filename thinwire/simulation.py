"""A channel by its name, outside any service: for experiments in a script or a notebook."""

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from thinwire.csi import Csi
from thinwire.equalise import ReceivedTokens, receive
from thinwire.errors import InvalidFrameError, InvalidRequestError
from thinwire.frames import MAX_SYMBOLS_PER_TOKEN, MAX_TOKENS, all_finite, check_power

if TYPE_CHECKING:
    from channel.transmission import Arrival

# The names by which its frames are keyed.
LINK, REQUEST = "simulate", "0" * 32


@dataclass(frozen=True, eq=False)
class Received:
    """What came through a channel.

    Attributes:
        arrival: the symbols as they arrived, ``gain`` and ``noise_variance`` as the receiver takes them to be, and
            ``pilot_uses``.
        equalised: what a decoder takes: symbols, and the variance of the noise on them.
        channel_uses: payload and pilots.
    """

    arrival: "Arrival"
    equalised: ReceivedTokens
    channel_uses: int


def simulate(
    symbols: ArrayLike,
    model: str = "awgn",
    *,
    snr_db: float = 10.0,
    csi: str = "perfect",
    seed: int = 0,
    frame: int = 0,
) -> Received:
    """Send symbols through one realisation of a channel model and equalise them as the cloud does (MMSE).

    The same code as the proxy's: noise and gains are keyed by the seed and the frame's number, and by nothing else.

    Args:
        symbols: ``N x S`` complex (or ``S``, for one token) of unit mean power.
        model: a channel model, with its parameters: "awgn", "rician:k_db=3,coherence=16"; docs/channels.md lists them.
        snr_db: average SNR (Es/N0) in dB.
        csi: what the receiver knows: "perfect", "none", or "pilots:count=4,every=16".
        seed: from 0 to 2^64 - 1.
        frame: which frame of its link this is; each meets noise of its own.

    Raises:
        InvalidRequestError: there is no such model or parameter, or a value is out of range.
        InvalidFrameError: the symbols are no finite matrix, or exceed unit power.

    Example:
        >>> import numpy as np
        >>> import thinwire
        >>> received = thinwire.simulate(np.ones((4, 2)), "rayleigh", snr_db=30, seed=7)
        >>> received.channel_uses, received.equalised.symbols.shape
        (8, (4, 2))
        >>> bool(abs(received.equalised.symbols - 1).max() < 0.2)
        True
    """
    # Called from above: this package stands below the channel.
    from channel.profiles import Profile
    from channel.realisation import keyed_generator
    from channel.transmission import carry

    profile = Profile(model=model, snr_db=snr_db, seed=operator.index(seed), csi=Csi.parse(csi))
    sent = np.atleast_2d(np.asarray(symbols, np.complex64))
    most = (MAX_TOKENS, MAX_SYMBOLS_PER_TOKEN)
    if sent.ndim != 2 or not all(1 <= count <= limit for count, limit in zip(sent.shape, most, strict=True)):
        raise InvalidFrameError(f"expected N x S symbols, at most {most[0]} x {most[1]}, got the shape {sent.shape}")
    if not all_finite(sent):
        raise InvalidFrameError("the symbols are not all finite")
    check_power(np.ascontiguousarray(sent))
    number = operator.index(frame)
    if not 0 <= number < 2**64:
        raise InvalidRequestError(f"frame must be from 0 to 2^64 - 1, got {frame}")
    generator = keyed_generator(profile.seed, LINK, REQUEST, number)
    arrival = carry(sent, profile, generator)
    received = receive(arrival.symbols, arrival.gain, arrival.noise_variance)
    return Received(arrival, received, sent.size + arrival.pilot_uses)
