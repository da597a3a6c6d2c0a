"""Decoding of sound files that may be hostile: mono, 16 kHz, in a process of its own.

`thinwire.audio.decoder` is that process, and states the limits on sample rates and channels, on its memory and its
time.
"""

import math
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from thinwire.audio.decoder import REFUSED
from thinwire.audio.log_mel import SAMPLE_RATE
from thinwire.errors import InvalidRequestError, PayloadTooLargeError
from thinwire.workers import Workers

# As many as OpenAI takes.
MAX_BYTES = 25 * 2**20
# 50 windows of Whisper's; 96 MB of samples.
MAX_SECONDS = 1_500.0
# By the clock, where the process gets little of the CPU.
TIMEOUT_S = 60.0

_LAYER_3 = (b"\xe2", b"\xe3", b"\xf2", b"\xf3", b"\xfa", b"\xfb")
# By their first bytes.
_STARTS: dict[str, Callable[[bytes], bool]] = {
    "WAV": lambda data: data[:4] == b"RIFF" and data[8:12] == b"WAVE",
    "FLAC": lambda data: data[:4] == b"fLaC",
    # Tags; or a frame: eleven bits, any version, layer III, perhaps a checksum.
    "MP3": lambda data: data[:3] == b"ID3" or (data[:1] == b"\xff" and data[1:2] in _LAYER_3),
    "OGG": lambda data: data[:4] == b"OggS",
    "M4A": lambda data: data[4:8] == b"ftyp",
    "WebM": lambda data: data[:4] == b"\x1a\x45\xdf\xa3",
}
FORMATS = tuple(_STARTS)

# Two, as of images.
_DECODERS = Workers("decode-audio", threads=2)


async def decode_apart(
    data: bytes, deadline_s: float = math.inf, max_seconds: float = MAX_SECONDS
) -> NDArray[np.float32]:
    """`decode`, on one of the few threads that a process has for that.

    Args:
        data: as for `decode`.
        deadline_s: when nobody wants the samples any more, by the event loop's clock.
        max_seconds: as for `decode`.

    Raises:
        OverloadedError, DeadlineError: as for `Workers.run`.
        PayloadTooLargeError, InvalidRequestError, ModuleNotFoundError: as for `decode`.
    """
    return await _DECODERS.run(lambda: decode(data, max_seconds), deadline_s)


def decode(data: bytes, max_seconds: float = MAX_SECONDS) -> NDArray[np.float32]:
    """The first sound of a file as Whisper hears it: the mean of the channels, at 16 kHz.

    An MP3 without a count of its frames, an OGG and a WebM tell nobody that their end is missing.

    Args:
        data: an encoded clip in one of `FORMATS`: AAC, ALAC, FLAC, MP3, Opus, Vorbis or PCM, 4 to 384 kHz, up to 64
            channels.
        max_seconds: that it may last.

    Returns:
        a row, full scale from -1 to 1; samples of a float format may be beyond. Not to be written to.

    Raises:
        PayloadTooLargeError: more than `MAX_BYTES` bytes.
        InvalidRequestError: the bytes are not a whole clip, or one that lasts too long, or is beyond a limit.
        ModuleNotFoundError: the package av is not installed.
    """
    if len(data) > MAX_BYTES:
        raise PayloadTooLargeError(f"the audio has {len(data)} bytes; the limit is {MAX_BYTES}")
    form = next((name for name, starts in _STARTS.items() if starts(data)), None)
    if form is None:
        raise InvalidRequestError(f"{len(data)} bytes that are no audio ({', '.join(FORMATS)})", "file")
    if find_spec("av") is None:
        raise ModuleNotFoundError("audio needs the package av: pip install 'thinwire[video]'", name="av")
    # Without the folder of the file on the path, where a module of its own could take the place of a library's.
    program = [sys.executable, "-P", str(Path(__file__).with_name("decoder.py"))]
    try:
        done = subprocess.run(
            [*program, form, str(SAMPLE_RATE), str(max_seconds)],
            input=data,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise InvalidRequestError(f"{form} is not decoded: it takes longer than {TIMEOUT_S:g} s", "file") from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip() if done.returncode == REFUSED else ""
        reason = reason or "it takes too much time or memory, or breaks the decoder"
        raise InvalidRequestError(f"{form} is not decoded: {reason}", "file")
    samples = np.frombuffer(done.stdout, np.float32)
    if not len(samples):
        raise InvalidRequestError(f"{form} is not decoded: it holds no sound", "file")
    if not np.isfinite(samples).all():
        raise InvalidRequestError(f"{form} is not decoded: some of its samples are not finite numbers", "file")
    return samples
