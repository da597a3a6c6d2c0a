"""One draw of a channel: the key that it comes from, its noise, and the one function that sends symbols through it.

What a frame meets depends on its name and the seed, and on nothing else.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray

Symbols: TypeAlias = NDArray[np.complex64]
Array = TypeVar("Array")


class _Key(ISeedSequence):
    """A key as it is: with ``Philox(key=...)`` numpy first draws a seed from the system, and then drops it."""

    def __init__(self, key: NDArray[np.uint64]) -> None:
        self._key = key

    def generate_state(self, n_words: int, dtype: object = np.uint64) -> NDArray[np.uint64]:
        return self._key


def keyed_generator(seed: int, link_id: str, request_id: str, sequence_number: int) -> np.random.Generator:
    """The generator from which a frame's channel is drawn.

    The key is BLAKE2b-128 over the seed (8 bytes), the link id, the request id (each as UTF-8 after its length in
    8 bytes, so that no two names share an encoding) and the sequence number (8 bytes), all integers little-endian.
    It is the key of Philox4x64-10 with its counter at zero, named here because numpy may change its default.

    Args:
        seed: unsigned 64-bit integer, as is ``sequence_number``.

    Raises:
        OverflowError: an integer is negative or too large.
    """
    encoding = _encode(seed, link_id, request_id, sequence_number)
    key = np.frombuffer(hashlib.blake2b(encoding, digest_size=16).digest(), "<u8")
    return np.random.Generator(np.random.Philox(_Key(key)))  # type: ignore[arg-type]


def keyed_uniform(seed: int, link_id: str, request_id: str, sequence_number: int, transmission: int) -> float:
    """A number in [0, 1) that is drawn anew for each transmission of a frame, and takes nothing from its noise.

    It is the first 53 bits of BLAKE2b-64, personalised with "loss", over `keyed_generator`'s encoding and the number of
    the transmission (8 bytes), little-endian.

    Args:
        transmission: which transmission of the frame, from 1.

    Raises:
        OverflowError: as for `keyed_generator`.
    """
    encoding = _encode(seed, link_id, request_id, sequence_number) + transmission.to_bytes(8, "little")
    digest = hashlib.blake2b(encoding, digest_size=8, person=b"loss").digest()
    return (int.from_bytes(digest, "little") >> 11) / 2**53


def _encode(seed: int, link_id: str, request_id: str, sequence_number: int) -> bytes:
    encoding = seed.to_bytes(8, "little")
    for text in (link_id, request_id):
        name = text.encode()
        encoding += len(name).to_bytes(8, "little") + name
    return encoding + sequence_number.to_bytes(8, "little")


def noise_variance(snr_db: float) -> float:
    """N0 = 10^(-SNR/10), the noise variance per complex symbol, for an SNR (Es/N0) in dB and Es = 1."""
    return float(10.0 ** (-snr_db / 10.0))


def complex_noise(shape: tuple[int, ...], variance: float, generator: np.random.Generator) -> Symbols:
    """Draw CN(0, ``variance``): half of the variance per real dimension, real and imaginary parts in turn.

    The draws run in row-major order, so that a frame with fewer tokens meets the beginning of the same noise.

    Returns:
        a complex64 array of shape ``shape``.
    """
    parts = generator.standard_normal((*shape, 2)) * math.sqrt(variance / 2)
    return parts.astype(np.float32).view(np.complex64)[..., 0]


def side_generator(generator: np.random.Generator) -> np.random.Generator:
    """A generator for what a model draws per symbol ahead of the noise.

    It takes 128 bits from ``generator``, whatever is drawn from it afterwards: so the noise that follows does not
    depend on how many gains a frame needs, and a frame with fewer tokens meets the beginning of both.
    """
    return np.random.Generator(np.random.Philox(key=generator.integers(0, 2**64, size=2, dtype=np.uint64)))


@dataclass(frozen=True, eq=False)
class Realisation(Generic[Array]):
    """What a channel does to one frame, or to a batch of frames.

    A channel model draws it for numpy. For training, put tensors in its fields: one frame per leading index, and
    ``batch x 1 x 1`` where one number holds for the frame.

    Attributes:
        gain: complex gain h; a number, or an array that broadcasts against the symbols. A symbol that is erased has
            the gain 0.
        noise: complex64 array of the symbols' shape.
        noise_variance: N0, the variance of the noise per complex symbol; a number, or a real array like ``gain``.
        phase_error: factors of magnitude 1 that turn the symbols and of which no receiver is told; an array like
            ``gain``, or None.
        clip: amplitude at which the sender's amplifier limits what it sends; a number, or in a batch a real array of
            one for each frame, all of them finite.
    """

    gain: complex | Array
    noise: Array
    noise_variance: float | Any
    phase_error: Array | None = None
    clip: float | Any = math.inf


def apply(symbols: Array, realisation: Realisation[Array]) -> Array:
    """Send symbols through a channel: ``y = h e^{j phi} c(x) + n``, where c is `clipped`.

    Args:
        symbols: complex64 array or tensor x, of the shape of the realisation's noise.

    Returns:
        y, of the same kind, shape and dtype, not equalised.
    """
    # No library is named here, so that numpy in the proxy and torch in training share these operators.
    gain: Any = realisation.gain
    is_linear = isinstance(realisation.clip, float) and realisation.clip == math.inf
    if not is_linear:
        symbols = clipped(symbols, realisation.clip)
    if realisation.phase_error is not None:
        gain = gain * realisation.phase_error
    received: Array = gain * symbols + realisation.noise
    return received


def clipped(symbols: Array, amplitude: float | Any) -> Array:
    """A soft limiter: ``c(x) = x min(1, A / |x|)``, which keeps the phase.

    Args:
        symbols: complex array or tensor.
        amplitude: A, above 0; a number, or an array that broadcasts against the symbols.
    """
    given: Any = symbols
    magnitude = abs(given)
    excess = (magnitude - amplitude) * (magnitude > amplitude)
    limited: Array = given * (amplitude / (amplitude + excess))
    return limited
