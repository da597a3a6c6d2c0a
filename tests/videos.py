"""Tiny videos that tests encode themselves, without loss."""

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

RATE = 5


def coloured(count: int, width: int = 32, height: int = 16) -> list[NDArray[np.uint8]]:
    """Frames of noise, no two alike."""
    generator = np.random.default_rng(0)
    return list(generator.integers(0, 256, (count, height, width, 3), dtype=np.uint8))


def write_video(path: Path, frames: list[NDArray[np.uint8]], codec: str = "libx264rgb", rotation: int = 0) -> Path:
    """Encode RGB frames at `RATE` a second; ``rotation`` in degrees, counter-clockwise, is for who shows them."""
    with av.open(path, "w") as container:
        options = {"crf": "0"} if codec == "libx264rgb" else {}
        stream = container.add_stream(codec, rate=RATE, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "rgb24"
        if rotation:
            stream.set_display_rotation(rotation)
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path
