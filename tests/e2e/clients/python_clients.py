"""Runs one of OpenAI's clients for Python, in an environment that has it and nothing of ours.

Standard input is JSON with ``client`` and ``cases``; standard output is JSON, for each case what its client
shows of the answer or of the error.
"""

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

LIMITS = {"max_retries": 0, "timeout": 60}
NEUTRAL = {
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logit_bias": {},
    "logprobs": False,
    "metadata": {"run": "3"},
    "modalities": ["text"],
    "n": 1,
    "parallel_tool_calls": False,
    "response_format": {"type": "text"},
    "service_tier": "auto",
    "stop": None,
    "store": False,
    "temperature": 0,
    "tool_choice": "none",
    "tools": [],
    "top_p": 1,
    "user": "u",
}


def stay_here(name: str, arguments: tuple[Any, ...]) -> None:
    """Refuse every host but this one."""
    if name == "socket.getaddrinfo" and arguments[0] not in ("127.0.0.1", None):
        raise SystemExit(f"looked up {arguments[0]}")
    if name == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] != "127.0.0.1":
        raise SystemExit(f"connected to {arguments[1]}")


def messages(case: dict[str, Any]) -> list[dict[str, Any]]:
    parts = [{"type": "text", "text": case["question"]}, {"type": "image_url", "image_url": {"url": case["image"]}}]
    return [{"role": "user", "content": parts}]


def use_openai(url: str, case: dict[str, Any]) -> Any:
    import openai

    client = openai.OpenAI(base_url=url, api_key="none", **LIMITS)
    if case["kind"] == "models":
        return [(model.id, model.object, model.owned_by, model.created) for model in client.models.list()]
    if case["kind"] == "model":
        return client.models.retrieve(case["model"]).id
    fields = (NEUTRAL if case["kind"] == "neutral" else {}) | case["fields"]
    asked = {"model": case["model"], "messages": messages(case), "extra_body": case["ours"], **fields}
    if case["kind"] != "stream":
        answer = client.chat.completions.create(**asked)
        (choice,) = answer.choices
        return told(choice.message.role, choice.message.content, choice.finish_reason, answer.usage.total_tokens)
    with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as stream:
        pieces = [event.delta for event in stream if event.type == "content.delta"]
        answer = stream.get_final_completion()
    (choice,) = answer.choices
    assert "".join(pieces) == choice.message.content
    return told(choice.message.role, choice.message.content, choice.finish_reason, answer.usage.total_tokens)


def use_langchain(url: str, case: dict[str, Any]) -> Any:
    from langchain_openai import ChatOpenAI

    fields = {"stream_usage": True} | (dict(NEUTRAL) if case["kind"] == "neutral" else {}) | case["fields"]
    # Of these it makes parameters of its own.
    bound = {name: fields.pop(name) for name in ("tools", "tool_choice", "parallel_tool_calls") if name in fields}
    model_kwargs = {
        name: fields.pop(name) for name in ("metadata", "modalities", "response_format", "user") if name in fields
    }
    client = ChatOpenAI(
        base_url=url,
        api_key="none",
        model=case["model"],
        extra_body=case["ours"],
        model_kwargs=model_kwargs,
        **LIMITS,
        **fields,
    )
    runnable = client.bind(**bound)
    if case["kind"] == "stream":
        pieces = list(runnable.stream(messages(case)))
        answer = pieces[0]
        for piece in pieces[1:]:
            answer += piece
    else:
        answer = runnable.invoke(messages(case))
    said = answer.response_metadata
    return told(
        {"ai": "assistant", "AIMessageChunk": "assistant"}[answer.type],
        answer.content,
        said["finish_reason"],
        answer.usage_metadata["total_tokens"],
    )


def use_litellm(url: str, case: dict[str, Any]) -> Any:
    import litellm

    litellm.telemetry = False
    litellm.suppress_debug_info = True
    fields = (NEUTRAL if case["kind"] == "neutral" else {}) | case["fields"]
    asked = {"model": "openai/" + case["model"], "messages": messages(case), "extra_body": case["ours"], **fields}
    asked |= {"api_base": url, "api_key": "none", **LIMITS}
    if case["kind"] == "stream":
        chunks = list(litellm.completion(**asked, stream=True, stream_options={"include_usage": True}))
        answer = litellm.stream_chunk_builder(chunks)
    else:
        answer = litellm.completion(**asked)
    (choice,) = answer.choices
    return told(choice.message.role, choice.message.content, choice.finish_reason, answer.usage.total_tokens)


def told(role: str, text: str, finish: str, tokens: int) -> dict[str, Any]:
    return {"role": role, "text": text, "finish": finish, "tokens": tokens}


CLIENTS: dict[str, Callable[[str, dict[str, Any]], Any]] = {
    "openai": use_openai,
    "langchain": use_langchain,
    "litellm": use_litellm,
}


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def shown(error: Exception) -> dict[str, Any]:
    """What an exception shows; where it has no field for it, the one it was made of may."""
    result: dict[str, Any] = {"message": str(error), "class": type(error).__name__}
    for name, attribute in (("status", "status_code"), ("code", "code"), ("param", "param")):
        values = [getattr(one, attribute, None) for one in causes(error)]
        result[name] = next((value for value in values if value is not None), None)
    return result


def main() -> None:
    sys.addaudithook(stay_here)
    asked = json.load(sys.stdin)
    use, results = CLIENTS[asked["client"]], {}
    for name, case in asked["cases"].items():
        try:
            results[name] = {"answer": use(case["url"], case)}
        except Exception as error:
            results[name] = {"error": shown(error)}
    print(json.dumps(results))


if __name__ == "__main__":
    main()
