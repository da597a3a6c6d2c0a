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
