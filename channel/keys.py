"""Keyed randomness: what a frame meets depends on its name and the seed, and on nothing else."""

import hashlib

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from numpy.typing import NDArray


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
