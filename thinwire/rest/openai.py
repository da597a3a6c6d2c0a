"""The form of OpenAI's chat completions, for programs that speak it: one image and one question.

Pure functions: nothing is sent, and nothing is ever fetched. An image comes as a ``data:`` URL.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from thinwire.errors import InvalidRequestError
from thinwire.rest.data_urls import read_data_url
from thinwire.rest.parsing import parse_json
from thinwire.rest.schemas import BudgetBody, ChannelBody, Strict, VqaInputs, VqaParameters, VqaResponse

DONE = "[DONE]"


class TextPart(Strict):
    """A piece of the question; several are lines of it."""

    type: Literal["text"]
    text: str


class ImageUrl(Strict):
    """The image itself, as ``data:image/...;base64,...``."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Strict):
    """The image."""

    type: Literal["image_url"]
    image_url: ImageUrl


class UserMessage(Strict):
    """What is asked, and about which image."""

    role: Literal["user"]
    content: list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]
    name: str | None = None


class StreamOptions(Strict):
    """``include_usage`` adds a chunk with the numbers of tokens."""

    include_usage: bool | None = None


class ChatBody(Strict):
    """A chat completion with one message. ``policy``, ``budget``, ``channel`` and ``timeout_ms`` are ours.

    Without a temperature the likeliest tokens are taken. Any ``model`` is answered by the one that is served.
    """

    messages: Annotated[list[UserMessage], Field(min_length=1, max_length=1)]
    model: str = ""
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    n: Literal[1] | None = None
    user: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    policy: str | None = None
    budget: BudgetBody | None = None
    channel: ChannelBody | None = None
    timeout_ms: float | None = None


@dataclass(frozen=True)
class ChatRequest:
    """What a chat completion asks for.

    Attributes:
        image: the encoded image.
        question: about it.
        parameters: how to answer.
        stream: whether to answer in chunks.
        include_usage: whether the last of them tells the numbers of tokens.
    """

    image: bytes
    question: str
    parameters: VqaParameters
    stream: bool
    include_usage: bool


@dataclass(frozen=True)
class Ending:
    """What `VqaResponse` leaves out of an answer, and this form tells.

    Attributes:
        finish_reason: "stop" or "length".
        prompt_tokens: tokens that were read.
        completion_tokens: tokens that were written.
    """

    finish_reason: str
    prompt_tokens: int
    completion_tokens: int

    def usage(self) -> dict[str, int]:
        """As this form tells it."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


def from_chat(body: ChatBody) -> ChatRequest:
    """The request in a chat completion.

    Raises:
        InvalidRequestError: there is not one image and a question, or a parameter is out of range.
        InvalidImageError: the image is no ``data:`` URL with base64.
    """
    parts = body.messages[0].content
    images = [part.image_url.url for part in parts if isinstance(part, ImagePart)]
    if len(images) != 1:
        raise InvalidRequestError(f"a message must hold one image, got {len(images)}")
    question = "\n".join(part.text for part in parts if isinstance(part, TextPart))
    parse_json(VqaInputs, _json({"image": "", "question": question}))
    if body.max_tokens is not None and body.max_completion_tokens is not None:
        raise InvalidRequestError("max_tokens and max_completion_tokens are two names of one thing; give one")
    given = {
        "max_new_tokens": body.max_completion_tokens if body.max_tokens is None else body.max_tokens,
        **{name: getattr(body, name) for name in ("temperature", "top_p", "seed", "policy", "budget", "channel")},
        "timeout_ms": body.timeout_ms,
    }
    kept = {name: value for name, value in given.items() if value is not None}
    dumped = {name: value.model_dump() if isinstance(value, Strict) else value for name, value in kept.items()}
    return ChatRequest(
        image=read_data_url(images[0], "image_url"),
        question=question,
        parameters=parse_json(VqaParameters, _json(dumped)),
        stream=bool(body.stream),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
    )


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode()


def to_completion(response: VqaResponse, ending: Ending, model: str, created_s: int) -> dict[str, Any]:
    """An answer in the form of a ``chat.completion``.

    Args:
        model: name of what answered.
        created_s: when, as seconds since 1970.
    """
    message = {"role": "assistant", "content": response.outputs[0].answer, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": ending.finish_reason}
    return {
        "id": _identity(response.id),
        "object": "chat.completion",
        "created": created_s,
        "model": model,
        "choices": [choice],
        "usage": ending.usage(),
    }


class Chunks:
    """An answer in the form of ``chat.completion.chunk``, one after the other.

    Args:
        identity: id of the answer, as `VqaResponse` has it.
        model: name of what answers.
        created_s: when, as seconds since 1970.
    """

    def __init__(self, identity: str, model: str, created_s: int) -> None:
        self._common = {
            "id": _identity(identity),
            "object": "chat.completion.chunk",
            "created": created_s,
            "model": model,
        }

    def piece(self, text: str) -> dict[str, Any]:
        """A piece of the text."""
        return self._chunk({"role": "assistant", "content": text}, None)

    def end(self, ending: Ending) -> dict[str, Any]:
        """How it ended."""
        return self._chunk({}, ending.finish_reason)

    def usage(self, ending: Ending) -> dict[str, Any]:
        """The numbers of tokens."""
        return self._common | {"choices": [], "usage": ending.usage()}

    def _chunk(self, delta: dict[str, str], finish_reason: str | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._common | {"choices": [choice]}


def _identity(identity: str) -> str:
    return f"chatcmpl-{identity}"
