"""Answers in the form of OpenAI's chat completions."""

from dataclasses import dataclass
from typing import Any

from thinwire.rest.events import event
from thinwire.rest.schemas import VqaResponse


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
        include_usage: whether the last of them tells the numbers of tokens.
    """

    def __init__(self, identity: str, model: str, created_s: int, include_usage: bool) -> None:
        self._common: dict[str, Any] = {
            "id": _identity(identity),
            "object": "chat.completion.chunk",
            "created": created_s,
            "model": model,
        }
        self._include_usage = include_usage

    def start(self) -> str:
        """The event of the first one: who speaks. A client that collects would add up a role that came again."""
        return self._event({"role": "assistant", "content": "", "refusal": None}, None)

    def piece(self, text: str) -> str:
        """The event of a piece of the text."""
        return self._event({"content": text}, None)

    def end(self, ending: Ending) -> str:
        """The events of how it ended."""
        events = self._event({}, ending.finish_reason)
        if self._include_usage:
            events += event(self._common | {"choices": [], "usage": ending.usage()})
        return events + event("[DONE]")

    def _event(self, delta: dict[str, str | None], finish_reason: str | None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return event(self._common | {"choices": [choice]} | ({"usage": None} if self._include_usage else {}))


def _identity(identity: str) -> str:
    return f"chatcmpl-{identity}"
