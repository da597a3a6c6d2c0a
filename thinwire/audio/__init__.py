"""Sound: decoded from files, cut in pieces, as a model hears it; and what was said in it."""

from thinwire.audio.decoding import FORMATS, MAX_BYTES, MAX_SECONDS, decode, decode_apart
from thinwire.audio.log_mel import FRAMES_PER_POSITION, POSITIONS, SAMPLE_RATE, SAMPLES_PER_POSITION, log_mel
from thinwire.audio.pieces import WINDOW_SAMPLES, Window, raw_chunks, windows
from thinwire.audio.transcript import Segment, Transcript, Word, joined

__all__ = [
    "FORMATS",
    "FRAMES_PER_POSITION",
    "MAX_BYTES",
    "MAX_SECONDS",
    "POSITIONS",
    "SAMPLES_PER_POSITION",
    "SAMPLE_RATE",
    "WINDOW_SAMPLES",
    "Segment",
    "Transcript",
    "Window",
    "Word",
    "decode",
    "decode_apart",
    "joined",
    "log_mel",
    "raw_chunks",
    "windows",
]
