"""Requests and answers of ``POST /v1/audio/transcriptions``, in OpenAI's form; what concerns the link is ours.

Pure functions: nothing is sent, and nothing is decoded.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, PlainTextResponse, Response

from thinwire.audio.transcript import Transcript, to_json, to_srt, to_text, to_verbose_json, to_vtt
from thinwire.errors import InvalidRequestError
from thinwire.rest.models import S, named, of_task
from thinwire.rest.schemas import BudgetBody, ChannelBody, LinkParameters
from thinwire.transcription import MAX_LANGUAGE_CHARACTERS, MAX_PROMPT_CHARACTERS, TranscriptionOptions

# The name by which OpenAI's programs ask for a Whisper.
ALIAS = "whisper-1"
Granularity = Literal["segment", "word"]


class TranscriptionBody(LinkParameters):
    """What to write down, and how.

    ``model`` is the name of a bundle of `/v1/models`; "whisper-1", and none, is the first that writes down speech.
    ``id`` names, in place of the file, a frame that came over the link. Without a temperature, or at 0, the likeliest
    text is written, and drawn at higher and higher temperatures while it is not good enough. A stream tells the text as
    it is written, and so does not try again. Longer audio than the model hears at once is cut in windows, each of which
    is told the prompt. ``policy``, ``budget``, ``channel``, ``explain`` and ``timeout_ms`` are ours.
    """

    id: Annotated[str, Field(min_length=1, max_length=80)] | None = None
    language: Annotated[str, Field(max_length=MAX_LANGUAGE_CHARACTERS)] | None = None
    prompt: Annotated[str, Field(max_length=MAX_PROMPT_CHARACTERS)] = ""
    temperature: Annotated[float, Field(ge=0, le=1)] = 0.0
    response_format: Literal["json", "text", "verbose_json", "srt", "vtt"] = "json"
    timestamp_granularities: list[Granularity] | None = None
    stream: bool = False

    @property
    def options(self) -> TranscriptionOptions:
        """The same as the rest of the house takes it."""
        given: dict[str, Any] = {"language": self.language or None, "prompt": self.prompt}
        if self.temperature or self.stream:
            given["temperatures"] = (self.temperature,)
        return TranscriptionOptions(timestamps=self.response_format not in ("json", "text"), **given)


_MANY = "timestamp_granularities"
# The others are JSON: numbers, true and false, objects.
_TEXTS = {"id", "model", "language", "prompt", "response_format", "policy"}
_NESTED: dict[str, type[BaseModel]] = {"budget": BudgetBody, "channel": ChannelBody}
REPEATED = (_MANY, f"{_MANY}[]")
PARTS = (
    "file",
    *TranscriptionBody.model_fields,
    f"{_MANY}[]",
    *(f"{name}[{inner}]" for name, kind in _NESTED.items() for inner in kind.model_fields),
)


def form_fields(texts: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The fields of a `TranscriptionBody` from the parts of a form, of which empty ones count as left out.

    An object is one part of JSON, ``budget={"channel_uses": 300}``, or a part for each of its fields, as OpenAI's
    clients write it, ``budget[channel_uses]=300``. Of ``timestamp_granularities[]`` each part is one, with and without
    the brackets.

    Args:
        texts: name, one of `PARTS`, and text of each part.

    Raises:
        InvalidRequestError: an object comes in both forms.
    """
    fields: dict[str, Any] = {}
    for whole, text in texts:
        if not text.strip():
            continue
        name, _, inner = whole.removesuffix("]").partition("[")
        if name == _MANY:
            fields.setdefault(name, []).append(text)
        elif inner:
            nested = fields.setdefault(name, {})
            if not isinstance(nested, dict) or inner in nested:
                raise InvalidRequestError(f"{name} comes in one part of JSON or in parts, not in both", name)
            nested[inner] = _plain(text)
        elif name in fields:
            raise InvalidRequestError(f"{name} comes in one part of JSON or in parts, not in both", name)
        else:
            fields[name] = text if name in _TEXTS else _plain(text)
    return fields


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        # What it is then is told by its field.
        return text


def check_transcription(body: TranscriptionBody, has_file: bool) -> None:
    """Check what no field can say alone.

    Raises:
        InvalidRequestError: there is not one of file and id, or the answer cannot have the form that is asked for.
    """
    if has_file == (body.id is not None):
        what = "both" if has_file else "neither"
        raise InvalidRequestError(
            f"expected the audio in the part 'file', or the id of a frame in its place; got {what}", "file"
        )
    if body.stream and body.response_format not in ("json", "text"):
        raise InvalidRequestError(
            f"response_format: a stream tells the text alone, so json or text; got {body.response_format!r}",
            "response_format",
        )
    if body.timestamp_granularities and body.response_format != "verbose_json":
        raise InvalidRequestError(
            f"timestamp_granularities are of the response_format 'verbose_json', got {body.response_format!r}", _MANY
        )
    if body.explain and body.response_format != "verbose_json":
        raise InvalidRequestError(
            f"explain is of the response_format 'verbose_json', got {body.response_format!r}", "explain"
        )
    if "word" in (body.timestamp_granularities or ()):
        raise InvalidRequestError(
            "timestamp_granularities: not words but segments are timed here; ask for segment", _MANY
        )


def writing(served: Sequence[S], model: str) -> S:
    """What writes speech down, of all that a process serves.

    Raises:
        UnknownTaskError: nothing does.
        UnknownModelError: the name is neither `ALIAS` nor that of a bundle that does.
    """
    return named(of_task(served, "transcription"), "" if model == ALIAS else model)


def respond(transcript: Transcript, body: TranscriptionBody, more: dict[str, Any] | None = None) -> Response:
    """The response in the form that was asked for.

    Args:
        more: what ``verbose_json`` tells beside OpenAI's fields.
    """
    if body.response_format == "text":
        return PlainTextResponse(to_text(transcript))
    if body.response_format == "srt":
        return PlainTextResponse(to_srt(transcript))
    if body.response_format == "vtt":
        return PlainTextResponse(to_vtt(transcript), media_type="text/vtt")
    if body.response_format == "verbose_json":
        return JSONResponse(to_verbose_json(transcript) | (more or {}))
    return JSONResponse(to_json(transcript))
