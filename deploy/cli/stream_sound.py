"""``thinwire stream`` of sound: what was said so far, again and again, while it comes."""

import argparse
import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.cli.access import client_options
from deploy.cli.client import link_options
from deploy.cli.transcribe import speech_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deploy.sounds import Piece
    from thinwire.client import Client
    from thinwire.rest.transcription_answers import TranscriptResponse

# Standard input.
STDIN = Path("-")
EVERY_S = 1.0
# By their suffix, where others are pictures and videos.
SUFFIXES = (".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav")
# Of what only pictures have.
_OF_PICTURES = ("switch", "fps", "overlap", "limit")
SUMMARY = (
    "{seconds:.1f} s in {windows} windows ({lost} requests lost); {requests} requests, {channel_uses} channel uses"
)


@dataclass
class _Said:
    """What a stream comes to; ``open_window`` is where the last window ends so far, and its text, until it is whole."""

    seconds: float = 0.0
    windows: int = 0
    requests: int = 0
    lost: int = 0
    channel_uses: int = 0
    texts: list[str] = field(default_factory=list)
    open_window: tuple[float, str] | None = None

    def close_window(self, end_s: float, text: str) -> None:
        """The last window is whole."""
        self.seconds, self.windows, self.open_window = end_s, self.windows + 1, None
        self.texts += [text] if text else []

    def summary(self) -> dict[str, Any]:
        """Its figures, and all that was said."""
        if self.open_window is not None:
            self.close_window(*self.open_window)
        figures = {name: getattr(self, name) for name in ("seconds", "windows", "requests", "lost", "channel_uses")}
        return figures | {"text": " ".join(self.texts)}


def is_sound(source: Path) -> bool:
    """Whether a source of the command is sound."""
    return source == STDIN or source.suffix.lower() in SUFFIXES


def run(options: argparse.Namespace, lost_in_a_row: int) -> None:
    """Write down a stream of sound.

    Args:
        options: of the command.
        lost_in_a_row: so many requests, and the stream ends.

    Raises:
        InvalidRequestError: there is more than one source, or an option of pictures.
        UnavailableError: the edge hears nothing, or does not answer.
        ThinwireError: what a request raises that will not fare better.
    """
    from thinwire.client import Client
    from thinwire.errors import InvalidRequestError

    if len(options.sources) > 1:
        raise InvalidRequestError(f"sound comes from one source, got {len(options.sources)}")
    for name in _OF_PICTURES:
        if getattr(options, name):
            raise InvalidRequestError(f"--{name} is of pictures, and {options.sources[0]} is sound")
    said = _Said()
    with Client(options.url, **client_options(options)) as client:
        try:
            _follow(client, options, said, lost_in_a_row)
        finally:
            # After an error and after Ctrl-C, too: what was said stays.
            if said.requests:
                told = said.summary()
                print(json.dumps({"summary": told}) if options.json else SUMMARY.format(**told), flush=True)


def _follow(client: "Client", options: argparse.Namespace, said: _Said, most_lost: int) -> None:
    from deploy.sounds import pieces
    from thinwire.errors import DeadlineError, FrameLostError, OverloadedError, UnavailableError

    window, in_a_row = _window_samples(client, options.model), 0
    heard: Piece | None = None
    answer: TranscriptResponse | None = None
    for piece in pieces(_chunks(options, window), window):
        began_s = time.monotonic()
        # The stream may end with what was just written down.
        if answer is None or heard is None or (heard.window, len(heard.audio)) != (piece.window, len(piece.audio)):
            heard, answer, said.requests = piece, None, said.requests + 1
            try:
                answer = client.transcribe(piece.audio, **link_options(options), **speech_options(options))
                in_a_row = 0
                said.channel_uses += answer.link.channel_uses if answer.link else 0
            except (DeadlineError, FrameLostError, OverloadedError, UnavailableError) as error:
                in_a_row, said.lost = in_a_row + 1, said.lost + 1
                if in_a_row == most_lost or (said.requests == 1 and isinstance(error, UnavailableError)):
                    raise
                print(_lost(piece, error.code, error.detail, options.json), flush=True)
        if piece.is_final:
            said.close_window(piece.end_s, answer.text if answer else "")
        elif answer is not None:
            said.open_window = (piece.end_s, answer.text)
        if answer is not None:
            print(_line(piece, answer, 1e3 * (time.monotonic() - began_s), options.json), flush=True)


def _window_samples(client: "Client", model: str | None) -> int:
    """What the model that answers hears at once, in samples."""
    from thinwire.audio import SAMPLES_PER_POSITION
    from thinwire.errors import UnavailableError

    for one in client.models():
        if one.task == "transcription" and model in (None, one.name):
            return one.patches * SAMPLES_PER_POSITION
    named = f"no model {model!r} that" if model else "nothing that"
    raise UnavailableError(f"{client.url} serves {named} writes down speech")


def _chunks(options: argparse.Namespace, window: int) -> "Iterator[NDArray[np.float32]]":
    from deploy.sounds import file_chunks, live_chunks
    from thinwire.audio import SAMPLE_RATE

    (source,), samples = options.sources, max(1, round(SAMPLE_RATE * (options.every or EVERY_S)))
    if source != STDIN:
        return file_chunks(source, samples)
    # Without a buffer, whose lock a thread that waits for a microphone would hold when the process ends.
    return live_chunks(io.FileIO(0, closefd=False), samples, max(1, window // samples))


def _place(piece: "Piece") -> dict[str, Any]:
    return {"window": piece.window, "start": piece.start_s, "end": piece.end_s, "final": piece.is_final}


def _lost(piece: "Piece", code: str, detail: str, as_json: bool) -> str:
    if as_json:
        return json.dumps(_place(piece) | {"error": code, "detail": detail})
    return f"{piece.end_s:8.1f} s  lost: {code}: {detail}"


def _line(piece: "Piece", answer: "TranscriptResponse", milliseconds: float, as_json: bool) -> str:
    if as_json:
        told = answer.model_dump(exclude={"windows", "duration", "segments"})
        return json.dumps(_place(piece) | {"time_to_answer_ms": milliseconds} | told)
    uses = f"{answer.link.channel_uses:6} uses" if answer.link else "plain"
    said = " ".join(answer.text.split()) if piece.is_final else f"... {' '.join(answer.text.split())}"
    return f"{piece.end_s:8.1f} s  {uses}  {milliseconds:7.1f} ms  {said}"
