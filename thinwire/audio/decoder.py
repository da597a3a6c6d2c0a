"""The process that decodes one clip: a file on standard input, float32 samples in native order on standard output.

FFmpeg (PyAV) is in here alone, since it may take many times as much memory and time as a file is large: this process
may take only so much of either, and a crash ends nothing else. `thinwire.audio.decoding` starts it as a
file, not as a module, so that it imports nothing but PyAV and is quick to start.

Exit status: 0; `REFUSED` with one line on standard error; or another, where the memory or the time did not do.
"""

import io
import struct
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from av import AudioFrame, AudioStream
    from av.filter import Graph

REFUSED = 3
# Of this process. PyAV takes 0.2 GiB of addresses before it has seen a file.
MAX_MEMORY_BYTES = 768 * 2**20
MAX_CPU_S = 30

RATES = (4_000, 384_000)
MAX_CHANNELS = 64
# As FFmpeg calls the formats.
DEMUXERS = {"WAV": "wav", "FLAC": "flac", "MP3": "mp3", "OGG": "ogg", "M4A": "mov", "WebM": "matroska"}
_CODECS = (
    *("aac", "alac", "flac", "mp3", "mp3float", "opus", "vorbis"),
    *("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_alaw", "pcm_mulaw"),
)
# By which a clip may be shorter than its header says: encoders count what they pad it with in several ways. Fractions,
# since a length in floating point may be more than all samples take.
_TOLERANCE_S = {"FLAC": Fraction(), "MP3": Fraction(1, 10), "M4A": Fraction(1, 10)}


class RefusedError(Exception):
    """The file is no clip that we take; the text says why."""


def decode(data: bytes, form: str, sample_rate: int, max_seconds: float) -> Iterator[bytes]:
    """The samples of a file's first sound, the mean of its channels, as they come.

    Args:
        data: the file.
        form: of `DEMUXERS`.
        sample_rate: of the samples.
        max_seconds: of the clip.

    Raises:
        RefusedError: it cannot be decoded, or is too long, or shorter than its header says.
    """
    import av

    if form == "WAV":
        _check_wav(data)
    try:
        options = {"codec_whitelist": ",".join(_CODECS)}
        with av.open(
            io.BytesIO(data), "r", format=DEMUXERS[form], options=options, metadata_errors="replace"
        ) as container:
            if not container.streams.audio:
                raise RefusedError("it holds no sound")
            stream = container.streams.audio[0]
            codec = stream.codec_context
            if codec is None or codec.name not in _CODECS:
                raise RefusedError("it is coded in a way that is not taken")
            codec.thread_count = 1
            promised_s = _promised_s(stream, form, data)
            if promised_s > max_seconds:
                raise RefusedError(f"it lasts {float(promised_s):.0f} s; the limit is {max_seconds:g} s")
            mixer, mixed, seconds = None, None, Fraction()
            for frame in container.decode(stream):
                seconds += Fraction(frame.samples, frame.sample_rate)
                if seconds > max_seconds:
                    raise RefusedError(f"it lasts longer than {max_seconds:g} s, which is the limit")
                # Some decoders learn after a few frames what they have in hand.
                kind = (frame.sample_rate, frame.format.name, frame.layout.name)
                if mixer is None or kind != mixed:
                    yield from _rest(mixer)
                    mixer, mixed = _mixer(frame, sample_rate), kind
                frame.pts = None
                mixer.push(frame)
                yield from _pulled(mixer)
            yield from _rest(mixer)
    except av.error.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
        if isinstance(error, av.error.InvalidDataError | av.error.EOFError):
            raise RefusedError("its data are damaged or cut off") from None
        # FFmpeg's "Invalid argument" is about its own calls, of a header with no channels for one.
        reason = "" if isinstance(error, av.error.ArgumentError) else error.strerror
        raise RefusedError(reason or "its header or its data are damaged") from None
    if form in _TOLERANCE_S and seconds < promised_s - _TOLERANCE_S[form]:
        raise RefusedError(f"its data are cut off: of {float(promised_s):.2f} s it holds {float(seconds):.2f} s")


def _promised_s(stream: "AudioStream", form: str, data: bytes) -> Fraction:
    """The length of a clip by its header, in seconds; 0 where that says none."""
    if not stream.duration or not stream.time_base or (form == "MP3" and not _counts_frames(data)):
        return Fraction()
    return stream.duration * stream.time_base


def _check_wav(data: bytes) -> None:
    """FFmpeg takes what there is of a WAV for the whole.

    Raises:
        RefusedError: its chunk of samples is cut off. One that was written before its length was known says 2^32 - 1.
    """
    start = 12
    while start + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, start)
        start += 8
        if name == b"data":
            if len(data) - start < size != 2**32 - 1:
                raise RefusedError(f"its data are cut off: of {size} bytes of samples it holds {len(data) - start}")
            return
        start += size + size % 2


def _mixer(frame: "AudioFrame", sample_rate: int) -> "Graph":
    """Filters that take frames like this one, and give the mean of their channels at another rate."""
    from av.filter import Graph

    rate, channels = frame.sample_rate, frame.layout.nb_channels
    if not RATES[0] <= rate <= RATES[1]:
        raise RefusedError(f"it has {rate} samples a second; taken are {RATES[0]} to {RATES[1]}")
    if channels > MAX_CHANNELS:
        raise RefusedError(f"it has {channels} channels; the limit is {MAX_CHANNELS}")
    graph = Graph()
    mean = "+".join(f"{1 / channels!r}*c{channel}" for channel in range(channels))
    filters = [
        graph.add_abuffer(sample_rate=rate, format=frame.format, layout=frame.layout, time_base=Fraction(1, rate)),
        # Before the channels are added, which would round to whole steps otherwise.
        graph.add("aformat", "sample_fmts=fltp"),
        graph.add("pan", f"mono|c0={mean}"),
        graph.add("aresample", str(sample_rate)),
        graph.add("aformat", "sample_fmts=flt"),
        graph.add("abuffersink"),
    ]
    graph.link_nodes(*filters).configure()
    return graph


def _pulled(mixer: "Graph") -> Iterator[bytes]:
    import av

    while True:
        try:
            frame = mixer.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        assert isinstance(frame, av.AudioFrame)
        yield bytes(frame.planes[0])[: 4 * frame.samples]


def _rest(mixer: "Graph | None") -> Iterator[bytes]:
    if mixer is not None:
        mixer.push(None)
        yield from _pulled(mixer)


def _counts_frames(data: bytes) -> bool:
    """Whether an MP3 says how many frames it has, in the first of them; elsewise FFmpeg guesses its length."""
    start = 0
    if data[:3] == b"ID3":
        # Seven bits a byte. Source: ID3v2.4, section 3.1.
        start = 10 + sum((byte & 127) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
    return any(tag in data[start : start + 64] for tag in (b"Xing", b"Info"))


def main() -> int:
    """Decode standard input; the arguments are those of `decode`."""
    # Not on every system that may import this.
    import resource

    for kind, most in ((resource.RLIMIT_AS, MAX_MEMORY_BYTES), (resource.RLIMIT_CPU, MAX_CPU_S)):
        resource.setrlimit(kind, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        for samples in decode(sys.stdin.buffer.read(), sys.argv[1], int(sys.argv[2]), float(sys.argv[3])):
            sys.stdout.buffer.write(samples)
        sys.stdout.buffer.flush()
    except RefusedError as error:
        print(error, file=sys.stderr)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
