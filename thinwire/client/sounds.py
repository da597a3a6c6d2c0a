"""The sound that the client takes."""

import os
import struct
from typing import TYPE_CHECKING, TypeAlias

from thinwire.client.pictures import read_bytes
from thinwire.errors import InvalidRequestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Sound: TypeAlias = "bytes | str | os.PathLike[str] | NDArray[np.floating]"
RATE = 16_000


def read_sound(sound: Sound) -> bytes:
    """The encoded sound that is sent: a file's bytes as they are; samples as a WAV of float32, which loses nothing.

    Args:
        sound: the bytes of a file, its path, or a row of floating-point samples at 16 kHz, full scale from -1 to 1.

    Raises:
        InvalidRequestError: the file cannot be read, or the samples are not of that kind.
    """
    if isinstance(sound, bytes):
        return sound
    if isinstance(sound, str | os.PathLike):
        return read_bytes(sound)
    import numpy as np

    if not isinstance(sound, np.ndarray) or sound.ndim != 1 or sound.dtype.kind != "f":
        got = f"{sound.shape} of {sound.dtype}" if isinstance(sound, np.ndarray) else type(sound).__name__
        raise InvalidRequestError(f"expected bytes, a path, or a row of floating-point samples at 16 kHz, got {got}")
    samples = sound.astype("<f4").tobytes()
    # Format 3 is floating point, of one channel. Source: Microsoft, Multimedia Data Standards Update, 1994.
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, RATE, 4 * RATE, 4, 32)
    chunks = head + struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks
