"""Frames of bits over the channel that the symbols of tokens cross, too."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from channel.realisation import keyed_generator
from channel.transmission import carry
from experiments.digital import block_code, crc, qam
from experiments.digital.ldpc import ldpc_code
from experiments.digital.mcs import Scheme
from offline.measure.evaluator import LINK_ID, request_id_of
from thinwire.channels import Channel
from thinwire.equalise import zero_forcing
from thinwire.errors import InvalidRequestError

# Frames that are decoded together.
BATCH = 256


class Received(NamedTuple):
    """What the receiver has of each frame.

    Attributes:
        bits: ``n x payload`` uint8.
        accepted: whether the CRC says that a frame is whole; always, where there is none.
    """

    bits: NDArray[np.uint8]
    accepted: NDArray[np.bool_]


def send(payload: NDArray[np.uint8], scheme: Scheme, channel: Channel, names: list[str], seed: int) -> Received:
    """Encode, modulate, send, demodulate with all that the channel did known, and decode.

    Args:
        payload: ``n x scheme.payload`` bits.
        scheme: how.
        channel: model and average SNR.
        names: of the images that the frames stand for. They key the noise as `offline.measure.evaluator` does, so that
            a digital frame meets what the symbols of the same image's tokens meet.
        seed: of the keyed noise.

    Raises:
        InvalidRequestError: the rows have another length.
    """
    if payload.ndim != 2 or payload.shape[1] != scheme.payload:
        raise InvalidRequestError(f"expected rows of {scheme.payload} bits, got an array of shape {payload.shape}")
    parts = [
        _send(payload[start : start + BATCH], scheme, channel, names[start : start + BATCH], seed)
        for start in range(0, len(payload), BATCH)
    ]
    return Received(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def frame_error_rate(scheme: Scheme, channel: Channel, names: list[str], seed: int) -> float:
    """Share of frames of random bits, one for each name, that do not arrive as they were sent."""
    generators = [keyed_generator(seed, "payload", request_id_of(name), 0) for name in names]
    payload = np.stack([one.integers(0, 2, scheme.payload, dtype=np.uint8) for one in generators])
    received = send(payload, scheme, channel, names, seed)
    return float(1 - (received.accepted & (received.bits == payload).all(axis=1)).mean())


def _send(payload: NDArray[np.uint8], scheme: Scheme, channel: Channel, names: list[str], seed: int) -> Received:
    if scheme.has_crc:
        length = scheme.bits - scheme.payload
        code = ldpc_code(scheme.bits, scheme.coded, scheme.order)
        decoded = code.decode(_cross(code.encode(crc.append(payload, length)), scheme, channel, names, seed))
        return Received(decoded[:, : scheme.payload], crc.intact(decoded, length))
    soft = _cross(block_code.encode(payload, scheme.coded), scheme, channel, names, seed)
    return Received(block_code.decode(soft, scheme.bits), np.ones(len(payload), dtype=np.bool_))


def _cross(
    coded: NDArray[np.uint8], scheme: Scheme, channel: Channel, names: list[str], seed: int
) -> NDArray[np.float32]:
    """From coded bits to soft ones."""
    symbols = qam.modulate(coded, scheme.order)
    received = np.empty(symbols.shape, dtype=np.complex64)
    noise = np.empty(symbols.shape)
    for row, name in enumerate(names):
        generator = keyed_generator(seed, LINK_ID, request_id_of(name), 0)
        arrival = carry(symbols[row : row + 1], channel, generator)
        received[row], noise[row] = zero_forcing(arrival.symbols, np.asarray(arrival.gain), arrival.noise_variance)
    return qam.soft_bits(received, noise, scheme.order)
