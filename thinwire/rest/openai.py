"""Requests in the form of OpenAI's chat completions, for programs that speak it: one image and one question.

Pure functions: nothing is sent, and nothing is ever fetched. An image comes as a ``data:`` URL.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from thinwire.errors import InvalidRequestError
from thinwire.generation import MAX_NEW_TOKENS, MAX_QUESTION_CHARACTERS
from thinwire.rest.data_urls import read_data_url
from thinwire.rest.models import S, named, of_task
from thinwire.rest.parsing import parse_json
from thinwire.rest.schemas import BudgetBody, ChannelBody, Integer, Strict, VqaParameters


class Only:
    """Marks a field that asks for what is not done here: only null and the values that ask for nothing are taken.

    Args:
        neutral: those values.
    """

    def __init__(self, *neutral: Any) -> None:
        self._neutral = (None, *neutral)

    def __get_pydantic_core_schema__(self, _: Any, __: Any) -> CoreSchema:
        """As pydantic wants it."""
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, _: Any, __: Any) -> dict[str, Any]:
        """As the OpenAPI document says it."""
        return {"enum": [*self._neutral]}

    def _check(self, value: Any) -> Any:
        for one in self._neutral:
            # To Python, true is 1 and false is 0.
            if value == one and isinstance(value, bool) == isinstance(one, bool):
                return value
        expected = " or ".join(map(json.dumps, self._neutral))
        raise PydanticCustomError("unsupported", "not supported here: expected {expected}", {"expected": expected})


class TextPart(Strict):
    """A piece of the question; several are lines of it."""

    type: Literal["text"]
    text: str


class ImageUrl(Strict):
    """The image itself, as ``data:image/...;base64,...``. Of any ``detail`` it is seen in the size of the model."""

    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(Strict):
    """The image."""

    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


def _as_parts(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


class Message(Strict):
    """What is asked, and about which image; or, empty, what a client has for the system."""

    role: Literal["user", "system", "developer"]
    content: Annotated[list[Part], BeforeValidator(_as_parts, json_schema_input_type=str | list[Part])]
    name: str | None = None


class StreamOptions(Strict):
    """``include_usage`` adds a chunk with the numbers of tokens."""

    include_usage: bool | None = None
    include_obfuscation: Annotated[Any, Only(False)] = None


class ChatBody(Strict):
    """A chat completion with one question. ``policy``, ``budget``, ``channel`` and ``timeout_ms`` are ours.

    Without a temperature the likeliest tokens are taken. A ``model`` that is the name of a bundle is answered by that
    bundle, any other by the first that answers questions. A limit on the tokens is an upper bound: above the server's
    own it is the server's.
    """

    messages: Annotated[list[Message], Field(min_length=1)]
    model: str = ""
    max_tokens: Annotated[Integer, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[Integer, Field(ge=1)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: Integer | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    policy: str | None = None
    budget: BudgetBody | None = None
    channel: ChannelBody | None = None
    timeout_ms: float | None = None
    # For the server's books and caches; the answer is the same with and without.
    metadata: dict[str, str] | None = None
    parallel_tool_calls: bool | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: Literal["in_memory", "24h"] | None = None
    safety_identifier: str | None = None
    user: str | None = None
    # What clients fill in although nobody asked for it.
    audio: Annotated[Any, Only()] = None
    frequency_penalty: Annotated[Any, Only(0)] = None
    function_call: Annotated[Any, Only("none", "auto")] = None
    functions: Annotated[Any, Only([])] = None
    logit_bias: Annotated[Any, Only({})] = None
    logprobs: Annotated[Any, Only(False)] = None
    modalities: Annotated[Any, Only(["text"])] = None
    moderation: Annotated[Any, Only()] = None
    n: Annotated[Any, Only(1)] = None
    prediction: Annotated[Any, Only()] = None
    presence_penalty: Annotated[Any, Only(0)] = None
    prompt_cache_options: Annotated[Any, Only({"mode": "implicit"})] = None
    reasoning_effort: Annotated[Any, Only("none")] = None
    response_format: Annotated[Any, Only({"type": "text"})] = None
    service_tier: Annotated[Any, Only("auto", "default")] = None
    stop: Annotated[Any, Only([])] = None
    store: Annotated[Any, Only(False)] = None
    tool_choice: Annotated[Any, Only("none", "auto")] = None
    tools: Annotated[Any, Only([])] = None
    top_logprobs: Annotated[Any, Only(0)] = None
    verbosity: Annotated[Any, Only("medium")] = None
    web_search_options: Annotated[Any, Only()] = None


@dataclass(frozen=True)
class ChatRequest:
    """What a chat completion asks for.

    Attributes:
        model: what was named; see `served_by`.
        image: the encoded image.
        question: about it.
        parameters: how to answer.
        stream: whether to answer in chunks.
        include_usage: whether the last of them tells the numbers of tokens.
    """

    model: str
    image: bytes
    question: str
    parameters: VqaParameters
    stream: bool
    include_usage: bool


def from_chat(body: ChatBody) -> ChatRequest:
    """The request in a chat completion.

    Raises:
        InvalidRequestError: there is not one image and a question, or a parameter is out of range.
        InvalidImageError: the image is no ``data:`` URL with base64.
    """
    url, question = _asked(body.messages)
    try:
        image = read_data_url(url, "image_url")
    except InvalidRequestError as error:
        raise InvalidRequestError(f"messages: {error}", "messages") from None
    if body.max_tokens is not None and body.max_completion_tokens is not None:
        raise InvalidRequestError(
            "max_tokens and max_completion_tokens are two names of one thing; give one", "max_completion_tokens"
        )
    most = body.max_completion_tokens if body.max_tokens is None else body.max_tokens
    given = {
        # Who speaks this form and names no limit expects the whole answer.
        "max_new_tokens": MAX_NEW_TOKENS if most is None else min(most, MAX_NEW_TOKENS),
        **{name: getattr(body, name) for name in ("temperature", "top_p", "seed", "policy", "budget", "channel")},
        "timeout_ms": body.timeout_ms,
    }
    kept = {name: value for name, value in given.items() if value is not None}
    dumped = {name: value.model_dump() if isinstance(value, Strict) else value for name, value in kept.items()}
    return ChatRequest(
        model=body.model,
        image=image,
        question=question,
        parameters=parse_json(VqaParameters, _json(dumped)),
        stream=bool(body.stream),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
    )


def served_by(served: Sequence[S], model: str) -> S:
    """What answers a chat completion, of all that a process serves.

    Programs that speak this form name a model of theirs as often as one of ours, so a name that no bundle has is that
    of the first one that answers questions.

    Raises:
        UnknownTaskError: none answers questions.
        UnknownModelError: the name is that of a bundle that answers no questions.
    """
    is_ours = any(one.bundle.name == model for one in served)
    return named(of_task(served, "vqa"), model if is_ours else "")


def _asked(messages: list[Message]) -> tuple[str, str]:
    """URL of the image, and the question."""
    asked = []
    for index, message in enumerate(messages):
        if message.role == "user":
            asked.append(message.content)
        elif any(isinstance(part, ImagePart) or part.text.strip() for part in message.content):
            raise InvalidRequestError(
                f"messages.{index}: the model reads no {message.role} message; say it in the question", "messages"
            )
    if len(asked) != 1:
        raise InvalidRequestError(
            f"messages: expected one user message, for the model reads no conversation; got {len(asked)}", "messages"
        )
    images = [part.image_url.url for part in asked[0] if isinstance(part, ImagePart)]
    if len(images) != 1:
        raise InvalidRequestError(
            f"messages: a message must hold one image, got {len(images)}; "
            'it comes as {"type": "image_url", "image_url": {"url": "data:image/...;base64,..."}}',
            "messages",
        )
    question = "\n".join(part.text for part in asked[0] if isinstance(part, TextPart))
    if not 1 <= len(question) <= MAX_QUESTION_CHARACTERS:
        raise InvalidRequestError(
            f"messages: a question has 1 to {MAX_QUESTION_CHARACTERS} characters, got {len(question)}", "messages"
        )
    return images[0], question


def _json(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content).encode()
