"""Short clips that tests encode themselves."""

import io
import struct
import wave

import av
import numpy as np
from numpy.typing import NDArray


def tone(frequency: float, rate: int, seconds: float = 1.0, level: float = 0.5) -> NDArray[np.float64]:
    """A sine, a row."""
    return level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)


def wav(channels: NDArray[np.float64], rate: int) -> bytes:
    """A WAV of int16 of ``channels x samples``, or of a row."""
    rows = np.atleast_2d(channels)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(len(rows))
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(np.round(32_767 * rows.T).astype("<i2").tobytes())
    return file.getvalue()


def float_wav(samples: NDArray[np.float32], rate: int) -> bytes:
    """A WAV of float32, which the module wave does not write."""
    data = samples.astype("<f4").tobytes()
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, rate, 4 * rate, 4, 32)
    chunks = head + struct.pack("<4sI", b"data", len(data)) + data
    return struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks


def encoded(audio: NDArray[np.float64], rate: int, codec: str, container: str, layout: str = "mono") -> bytes:
    """A row in every channel of a layout, by FFmpeg."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as writer:
        stream = writer.add_stream(codec, rate=rate, layout=layout)
        # FFmpeg's own encoder of Vorbis, and none else, asks for that.
        stream.codec_context.options = {"strict": "experimental"}
        channels = av.AudioLayout(layout).nb_channels
        frame = av.AudioFrame.from_ndarray(np.tile(audio.astype(np.float32), (channels, 1)), "fltp", layout)
        frame.sample_rate, frame.pts = rate, 0
        resampler = av.AudioResampler(stream.format, layout, rate, stream.frame_size or None)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            writer.mux(stream.encode(part))
        writer.mux(stream.encode())
    return file.getvalue()


def silent_flac(seconds: float, promised: int | None = None, rate: int = 4_000) -> bytes:
    """Silence in int16, written here: 4 kB an hour. Source: RFC 9639.

    Args:
        promised: samples that the header says; by default those that there are, and 0 says nothing.
    """
    block, samples = 65_535, round(seconds * rate)
    total = samples if promised is None else promised
    kind = rate << 44 | 15 << 36 | total
    parts = [b"fLaC\x80\0\0\x22", struct.pack(">HH", block, block), bytes(6), kind.to_bytes(8, "big"), bytes(16)]
    for number, start in enumerate(range(0, samples, block)):
        # Length and rate follow, one channel, 16 bits; a number as UTF-8 has it; a subframe of one value.
        head = b"\xff\xf8\x7d\x08" + chr(number).encode() + struct.pack(">HH", min(block, samples - start) - 1, rate)
        frame = head + _crc(head, 0x07, 8) + b"\0\0\0"
        parts += [frame, _crc(frame, 0x8005, 16)]
    return b"".join(parts)


def _crc(data: bytes, polynomial: int, bits: int) -> bytes:
    value = 0
    for byte in data:
        value ^= byte << bits - 8
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> bits - 1 else 0)
            value &= (1 << bits) - 1
    return value.to_bytes(bits // 8, "big")


_SECOND = np.sin(np.linspace(0, 2_000, 16_000))
_FLAC = encoded(_SECOND, 16_000, "flac", "flac")
_PROMISING = bytearray(_FLAC)
# The number of samples, of 36 bits, ends here.
_PROMISING[25] += 100
BROKEN = {
    "empty": (b"", "0 bytes that are no audio"),
    "text": (b"four score and seven years ago\n" * 9, "no audio"),
    "truncated": (_FLAC[: len(_FLAC) // 2], "damaged or cut off"),
    "promises more": (bytes(_PROMISING), "cut off"),
    "1 Hz": (wav(np.zeros(50), 1), "1 samples a second"),
    "768 kHz": (wav(np.zeros(50), 768_000), "768000 samples a second"),
    "10 h": (silent_flac(36_000), "it lasts 36000 s; the limit is 1500 s"),
    "10 h that nothing tells": (silent_flac(36_000, promised=0), "longer than 1500 s"),
}
"""Files that are no clips to write down, and what is told of each."""
