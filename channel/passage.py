"""From the symbols of a frame to those that arrive, and what their receiver knows of the channel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channel.models import registry
from channel.models.noise import noise_variance
from channel.realisation import Symbols, apply
from thinwire.channels import Channel
from thinwire.errors import InvalidRequestError
from thinwire.frames import MAX_SYMBOLS_PER_TOKEN, MAX_TOKENS

# Pilots ahead of every symbol of the largest frame would take gigabytes.
MAX_USES = 2 * MAX_TOKENS * MAX_SYMBOLS_PER_TOKEN


@dataclass(frozen=True, eq=False)
class Arrival:
    """A frame as it arrives.

    Attributes:
        symbols: ``N x S`` complex64, not equalised.
        gain: h as the receiver takes it to be; a number, or complex64 of the shape of ``symbols``.
        noise_variance: variance per complex symbol of what is to be taken for noise; a number, or float32 likewise.
        pilot_uses: pilots that were sent beside the symbols.
    """

    symbols: Symbols
    gain: complex | Symbols
    noise_variance: float | NDArray[np.float32]
    pilot_uses: int = 0


def carry(symbols: Symbols, channel: Channel, generator: np.random.Generator) -> Arrival:
    """Send symbols through one realisation of a channel.

    With perfect CSI the receiver is told every gain and noise variance, and without any it takes h = 1 and N0.

    Pilots of value 1 are sent among the symbols, P ahead of each block, through the same realisation: fading, bursts,
    erasures, phase noise and the amplifier meet them as they meet the payload, and they take their time. The receiver
    estimates the gain of a block by least squares, ``h' = mean of the P pilots as received``: for a gain that stays
    within the block its error e has the variance N0 / P, and since ``y = h' x + (n - e x)``, it takes N0 (1 + 1/P) as
    the variance of its noise. Equalisation by h' is left to whoever gets the arrival.

    Args:
        symbols: ``N x S`` complex64 of unit mean power.
        channel: what they meet.
        generator: the only source of randomness.

    Raises:
        InvalidRequestError: there is no such model, or payload and pilots are more than `MAX_USES`.
    """
    if channel.csi.count:
        return _with_pilots(symbols, channel, generator)
    realisation = registry.get(channel.model).draw(symbols.shape, channel.snr_db, generator)
    received = apply(symbols, realisation)
    if channel.csi.text == "none":
        return Arrival(received, 1 + 0j, noise_variance(channel.snr_db))
    return Arrival(received, realisation.gain, realisation.noise_variance)


def _with_pilots(symbols: Symbols, channel: Channel, generator: np.random.Generator) -> Arrival:
    payload, csi = symbols.size, channel.csi
    pilots = csi.pilot_uses(payload)
    if payload + pilots > MAX_USES:
        raise InvalidRequestError(f"{pilots} pilots beside {payload} symbols are more than {MAX_USES} channel uses")
    every = min(csi.every, payload) or payload
    index = np.arange(payload)
    place = index + csi.count * (index // every + 1)
    sent = np.ones(payload + pilots, np.complex64)
    sent[place] = symbols.ravel()
    received = apply(sent, registry.get(channel.model).draw(sent.shape, channel.snr_db, generator)).astype(np.complex64)
    estimates = np.delete(received, place).reshape(-1, csi.count).mean(axis=1)
    gain = complex(estimates[0]) if len(estimates) == 1 else estimates[index // every].reshape(symbols.shape)
    variance = noise_variance(channel.snr_db) * (1 + 1 / csi.count)
    return Arrival(received[place].reshape(symbols.shape), gain, variance, pilots)
