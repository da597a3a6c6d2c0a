"""What was said in a clip, in the forms of OpenAI's `POST /v1/audio/transcriptions`.

Sources: OpenAI's API reference, audio; for `srt` what players read, for `vtt` WebVTT of the W3C.
"""

import zlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from thinwire.audio.log_mel import HOP, SAMPLE_RATE
from thinwire.v1 import link_pb2

GRANULARITIES = ("segment", "word")


@dataclass(frozen=True)
class Segment:
    """What was said in one stretch of a clip.

    Attributes:
        start_s: from the clip's start, in seconds.
        end_s: likewise.
        text: as the decoder wrote it: with the space before its first word, in languages that have any.
        seek: start of the window that it was heard in, in frames of 10 ms.
        tokens: of the text.
        temperature: that it was decoded at.
        avg_logprob: mean natural logarithm of the tokens' probabilities.
        no_speech_prob: probability that nobody speaks.
    """

    start_s: float
    end_s: float
    text: str
    seek: int = 0
    tokens: tuple[int, ...] = ()
    temperature: float = 0.0
    avg_logprob: float = 0.0
    no_speech_prob: float = 0.0


@dataclass(frozen=True)
class Word:
    """One word, without spaces around it, and where it was said, in seconds."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Transcript:
    """What was said in a clip.

    Attributes:
        segments: in order.
        language: its name in English, lower case, as ``english``.
        duration_s: of the clip.
        words: in order, where anybody asked for them.
    """

    segments: tuple[Segment, ...]
    language: str
    duration_s: float
    words: tuple[Word, ...] = ()

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(segment.text for segment in self.segments).strip()


def joined(windows: Iterable[tuple[float, link_pb2.Transcript]], duration_s: float) -> Transcript:
    """The transcript of a clip that was heard in windows.

    Args:
        windows: where each starts in the clip, in seconds, and what was said in it, in order. The language is that of
            the first one with text.
        duration_s: of the clip.
    """
    segments: list[Segment] = []
    language = ""
    for start_s, heard in windows:
        if (heard.segments and not segments) or not language:
            language = heard.language
        segments.extend(
            Segment(
                start_s=start_s + part.start,
                end_s=start_s + part.end,
                text=part.text,
                seek=round(start_s * SAMPLE_RATE / HOP),
                tokens=tuple(part.tokens),
                temperature=heard.temperature,
                avg_logprob=heard.avg_logprob,
                no_speech_prob=heard.no_speech_prob,
            )
            for part in heard.segments
        )
    return Transcript(tuple(segments), language, duration_s)


def to_json(transcript: Transcript) -> dict[str, Any]:
    """The body of ``response_format=json``."""
    return {"text": transcript.text, "usage": _usage(transcript)}


def to_text(transcript: Transcript) -> str:
    """The body of ``response_format=text``: a line."""
    return f"{transcript.text}\n"


def to_verbose_json(transcript: Transcript, granularities: Collection[str] = ("segment",)) -> dict[str, Any]:
    """The body of ``response_format=verbose_json``.

    Args:
        transcript: what was said.
        granularities: of `GRANULARITIES`, which of segments and words it lists.
    """
    body: dict[str, Any] = {
        "task": "transcribe",
        "language": transcript.language,
        "duration": transcript.duration_s,
        "text": transcript.text,
    }
    if "word" in granularities:
        body["words"] = [{"word": word.text, "start": word.start_s, "end": word.end_s} for word in transcript.words]
    if "segment" in granularities:
        body["segments"] = [_segment(number, segment) for number, segment in enumerate(transcript.segments)]
    return {**body, "usage": _usage(transcript)}


def to_srt(transcript: Transcript) -> str:
    """The body of ``response_format=srt``; segments without text are left out."""
    cues = (
        f"{number}\n{start.replace('.', ',')} --> {end.replace('.', ',')}\n{text.replace('-->', '->')}\n\n"
        for number, (start, end, text) in enumerate(_cues(transcript), 1)
    )
    return "".join(cues)


def to_vtt(transcript: Transcript) -> str:
    """The body of ``response_format=vtt``; segments without text are left out."""
    cues = (
        f"{start} --> {end}\n{text.replace('&', '&amp;').replace('<', '&lt;').replace('>', '&gt;')}\n\n"
        for start, end, text in _cues(transcript)
    )
    return "WEBVTT\n\n" + "".join(cues)


def delta_event(text: str) -> dict[str, Any]:
    """The data of an event of ``stream=true``: text that follows what came so far."""
    return {"type": "transcript.text.delta", "delta": text}


def done_event(text: str) -> dict[str, Any]:
    """The data of the last event of ``stream=true``: all of the text."""
    return {"type": "transcript.text.done", "text": text}


def _usage(transcript: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": transcript.duration_s}


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    encoded = segment.text.encode()
    return {
        "id": number,
        "seek": segment.seek,
        "start": segment.start_s,
        "end": segment.end_s,
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": segment.temperature,
        "avg_logprob": segment.avg_logprob,
        # As Whisper has it, which takes text that can be packed well for a decoder that repeats itself.
        "compression_ratio": len(encoded) / len(zlib.compress(encoded)),
        "no_speech_prob": segment.no_speech_prob,
    }


def _cues(transcript: Transcript) -> Iterator[tuple[str, str, str]]:
    """Start, end and text of each segment that has any, the text on one line: an empty line would end it."""
    for segment in transcript.segments:
        if text := " ".join(segment.text.split()):
            yield _clock(segment.start_s), _clock(segment.end_s), text


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds, as ``00:01:02.345``."""
    rest, milliseconds = divmod(round(1000 * seconds), 1000)
    return f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}.{milliseconds:03}"
