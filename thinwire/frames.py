"""What every hop knows of a frame: its identity, the layout of its symbols, its cost, and the checks on all three."""

import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinwire.errors import InvalidFrameError
from thinwire.v1 import link_pb2

MAX_TOKENS = 4096
MAX_SYMBOLS_PER_TOKEN = 256
# A sender normalises in float32; this leaves room for its rounding and for nothing else.
POWER_TOLERANCE = 1e-3
# 128 bits in lower-case hexadecimal.
_REQUEST_ID = re.compile("[0-9a-f]{32}")
_LINK_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@dataclass(frozen=True)
class ChannelUses:
    """Complex symbols that a frame occupies on the channel, by part."""

    payload: int
    pilots: int
    side_information: int

    @property
    def total(self) -> int:
        """What budget, airtime and CBR count."""
        return self.payload + self.pilots + self.side_information


def count_uses(
    tokens: int, symbols_per_token: int, *, side_information_bits: int = 0, pilots: int = 0, control_rate: float = 1.0
) -> ChannelUses:
    """Channel uses of a frame of ``tokens x symbols_per_token`` symbols.

    Args:
        side_information_bits: digital bits that travel beside the symbols.
        pilots: complex symbols known to the receiver.
        control_rate: bits per channel use at which side information is sent.
    """
    return ChannelUses(tokens * symbols_per_token, pilots, math.ceil(side_information_bits / control_rate))


def pack_symbols(symbols: NDArray[np.complex64]) -> bytes:
    """Serialise complex symbols as ``cf32_le``: little-endian float32, real then imaginary, in row-major order."""
    return np.ascontiguousarray(symbols, dtype="<c8").tobytes()


def describe(gain: complex | NDArray[np.complex64], noise_variance: float | NDArray[np.float32]) -> link_pb2.Reception:
    """What a receiver knows of gain and noise, as a message: numbers, or arrays of one for each symbol."""
    reception = link_pb2.Reception()
    if isinstance(gain, np.ndarray) and gain.ndim:
        reception.gains = pack_symbols(gain)
    else:
        reception.gain_real, reception.gain_imag = complex(gain).real, complex(gain).imag
    if isinstance(noise_variance, np.ndarray) and noise_variance.ndim:
        reception.noise_variances = np.ascontiguousarray(noise_variance, dtype="<f4").tobytes()
    else:
        reception.noise_variance = float(noise_variance)
    return reception


def read_reception(
    frame: link_pb2.Frame,
) -> tuple[complex | NDArray[np.complex64], float | NDArray[np.float32]]:
    """Gain and noise variance of a frame, after `check_frame`: what `describe` was given, of any value.

    Returns:
        each a number, or a ``tokens x symbols_per_token`` array. Without a reception the link has gain 1 and no noise.

    Raises:
        InvalidFrameError: there are more or fewer of either than symbols.
    """
    if not frame.HasField("reception"):
        return 1 + 0j, 0.0
    reception, shape = frame.reception, (frame.tokens, frame.symbols_per_token)
    for name, content, size in (("gains", reception.gains, 8), ("noise variances", reception.noise_variances, 4)):
        if content and len(content) != math.prod(shape) * size:
            raise InvalidFrameError(f"expected {math.prod(shape) * size} bytes of {name}, got {len(content)}")
    gain = np.frombuffer(reception.gains, dtype="<c8").reshape(shape) if reception.gains else None
    variance = (
        np.frombuffer(reception.noise_variances, dtype="<f4").reshape(shape) if reception.noise_variances else None
    )
    return (
        complex(reception.gain_real, reception.gain_imag) if gain is None else gain,
        reception.noise_variance if variance is None else variance,
    )


def check_link_id(link_id: str) -> None:
    """Check the name of a link.

    Raises:
        InvalidFrameError: it is empty, longer than 64 characters, or has others than letters, digits and ``._:-``.
    """
    if not _LINK_ID.fullmatch(link_id):
        raise InvalidFrameError(f"link_id must match {_LINK_ID.pattern}, got {link_id[:80]!r}")


def check_frame(frame: link_pb2.Frame) -> NDArray[np.complex64]:
    """Check a frame's identity, that the length of its symbols is that of its shape, and that they are finite.

    Returns:
        the symbols, a ``tokens x symbols_per_token`` array of complex64.

    Raises:
        InvalidFrameError: any of these is not so.
    """
    check_link_id(frame.link_id)
    if not _REQUEST_ID.fullmatch(frame.request_id):
        raise InvalidFrameError(f"request_id must be 32 hexadecimal digits, got {frame.request_id[:80]!r}")
    if not 1 <= frame.tokens <= MAX_TOKENS:
        raise InvalidFrameError(f"tokens must be 1 to {MAX_TOKENS}, got {frame.tokens}")
    if not 1 <= frame.symbols_per_token <= MAX_SYMBOLS_PER_TOKEN:
        raise InvalidFrameError(
            f"symbols_per_token must be 1 to {MAX_SYMBOLS_PER_TOKEN}, got {frame.symbols_per_token}"
        )
    expected = frame.tokens * frame.symbols_per_token * 8
    # Each access to the field copies it.
    data = frame.symbols
    if len(data) != expected:
        raise InvalidFrameError(
            f"expected {expected} bytes for {frame.tokens} tokens of {frame.symbols_per_token} symbols, got {len(data)}"
        )
    if len(frame.side_information) != math.ceil(frame.side_information_bits / 8):
        raise InvalidFrameError(
            f"expected {math.ceil(frame.side_information_bits / 8)} bytes of side information for "
            f"{frame.side_information_bits} bits, got {len(frame.side_information)}"
        )
    symbols = np.frombuffer(data, dtype="<c8").reshape(frame.tokens, frame.symbols_per_token)
    if not all_finite(symbols):
        raise InvalidFrameError("the symbols are not all finite")
    return symbols


def all_finite(values: NDArray[Any]) -> bool:
    """Whether an array has neither infinities nor NaN in it."""
    # `all` of an array goes through Python, which for a frame takes as long as looking at its symbols.
    return bool(np.count_nonzero(np.isfinite(values)) == values.size)


def check_power(symbols: NDArray[np.complex64]) -> None:
    """Check that the mean power of what a sender transmits is at most 1.

    Raises:
        InvalidFrameError: it is more.
    """
    parts = symbols.view(np.float32).ravel()
    power = float(np.einsum("i,i->", parts, parts, dtype=np.float64)) / symbols.size
    if power > 1.0 + POWER_TOLERANCE:
        raise InvalidFrameError(f"the mean power per symbol is {power:.4f}; the limit is 1")


def frame_key(frame: link_pb2.Frame) -> tuple[str, str, int]:
    """What names a frame: link, request and sequence number."""
    return frame.link_id, frame.request_id, frame.sequence_number


def frame_id(request_id: str, sequence_number: int) -> str:
    """The name by which REST tells of a frame; the first of a request has that of the request."""
    return f"{request_id}-{sequence_number}" if sequence_number else request_id


def identified(frame: link_pb2.Frame) -> link_pb2.Result:
    """An empty result with the name of its frame."""
    return link_pb2.Result(link_id=frame.link_id, request_id=frame.request_id, sequence_number=frame.sequence_number)
