import base64

import pytest

from thinwire.errors import InvalidImageError, InvalidRequestError, ThinwireError
from thinwire.rest.openai import ChatBody, Chunks, Ending, from_chat, to_completion
from thinwire.rest.parsing import parse_json
from thinwire.rest.schemas import AnswerBody, TimingsBody, VqaParameters, VqaResponse

IMAGE = bytes(range(200))
URL = "data:image/png;base64," + base64.b64encode(IMAGE).decode()
TEXT = {"type": "text", "text": "what?"}


def image(url=URL, **fields):
    return {"type": "image_url", "image_url": {"url": url, **fields}}


def body(*content, **fields):
    content = list(content) or [TEXT, image()]
    return {"model": "gpt", "messages": [{"role": "user", "content": content}]} | fields


def read(content):
    import json

    return from_chat(parse_json(ChatBody, json.dumps(content).encode()))


def test_one_image_and_one_question():
    asked = read(body())
    assert (asked.image, asked.question, asked.stream, asked.include_usage) == (IMAGE, "what?", False, False)
    assert asked.parameters == VqaParameters()


def test_several_texts_are_lines_of_the_question():
    asked = read(body(TEXT, image(detail="low"), {"type": "text", "text": "which?"}))
    assert asked.question == "what?\nwhich?"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_parameters_have_our_names_and_limits(name):
    asked = read(body(**{name: 9, "temperature": 0.5, "top_p": 0.25, "seed": 3, "timeout_ms": 500, "n": 1}))
    expected = VqaParameters(max_new_tokens=9, temperature=0.5, top_p=0.25, seed=3, timeout_ms=500)
    assert asked.parameters == expected


def test_what_is_ours_passes():
    asked = read(body(policy="none", budget={"channel_uses": 64}, channel={"snr_db": 3.0}))
    parameters = asked.parameters
    assert (parameters.policy, parameters.budget.channel_uses, parameters.channel.snr_db) == ("none", 64, 3.0)


def test_a_stream():
    asked = read(body(stream=True, stream_options={"include_usage": True}))
    assert (asked.stream, asked.include_usage) == (True, True)


USER = {"role": "user", "content": [TEXT, image()]}
REFUSED = {
    "http": (body(TEXT, image("http://example.org/a.png")), InvalidRequestError, "nothing is fetched"),
    "https": (body(TEXT, image("https://example.org/a.png")), InvalidRequestError, "nothing is fetched"),
    "file": (body(TEXT, image("file:///etc/passwd")), InvalidRequestError, "nothing is fetched"),
    "no url": (body(TEXT, image("")), InvalidRequestError, "nothing is fetched"),
    "no image": (body(TEXT), InvalidRequestError, "one image, got 0"),
    "two images": (body(TEXT, image(), image()), InvalidRequestError, "one image, got 2"),
    "no question": (body(image()), InvalidRequestError, "question"),
    "long question": (body({"type": "text", "text": "a" * 2001}, image()), InvalidRequestError, "2000 characters"),
    "text": (body() | {"messages": [{"role": "user", "content": "what?"}]}, InvalidRequestError, "content"),
    "no base64": (body(TEXT, image("data:image/png;base64,*")), InvalidImageError, "not base64"),
    "not in base64": (body(TEXT, image("data:image/png,abc")), InvalidImageError, "expected data:image"),
    "not an image": (body(TEXT, image("data:text/html;base64,YQ==")), InvalidImageError, "expected data:image"),
    "no comma": (body(TEXT, image("data:image/png;base64")), InvalidImageError, "expected data:image"),
    "system": (body() | {"messages": [{"role": "system", "content": [TEXT]}, USER]}, InvalidRequestError, "messages"),
    "two messages": (body() | {"messages": [USER, USER]}, InvalidRequestError, "messages"),
    "no message": (body() | {"messages": []}, InvalidRequestError, "messages"),
    "two choices": (body(n=2), InvalidRequestError, "n: "),
    "tools": (body(tools=[]), InvalidRequestError, "tools"),
    "both limits": (body(max_tokens=3, max_completion_tokens=3), InvalidRequestError, "one thing"),
    "too many tokens": (body(max_tokens=257), InvalidRequestError, "max_new_tokens"),
    "temperature": (body(temperature=3.0), InvalidRequestError, "temperature"),
    "not finite": (body(temperature=float("nan")), InvalidRequestError, "temperature"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    content, kind, words = REFUSED[name]
    with pytest.raises(ThinwireError, match=words) as raised:
        read(content)
    assert type(raised.value) is kind
    assert len(str(raised.value)) < 1000


def test_media_types_have_no_case():
    assert read(body(TEXT, image("DATA:IMAGE/PNG;BASE64," + URL.partition(",")[2]))).image == IMAGE


def test_a_completion():
    timings = TimingsBody(edge=None, channel=None, cloud=1.0, total=2.0)
    outputs = [AnswerBody(answer="red", score=0.9)]
    response = VqaResponse(id="ab", outputs=outputs, policy=None, link=None, cost=None, timings_ms=timings)
    assert to_completion(response, Ending("stop", 70, 2), "tiny", 1_700_000_000) == {
        "id": "chatcmpl-ab",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "tiny",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "red", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 70, "completion_tokens": 2, "total_tokens": 72},
    }


def test_chunks():
    chunks, ending = Chunks("ab", "tiny", 5), Ending("length", 7, 3)
    common = {"id": "chatcmpl-ab", "object": "chat.completion.chunk", "created": 5, "model": "tiny"}
    for content, delta, reason in (
        (chunks.piece("red"), {"role": "assistant", "content": "red"}, None),
        (chunks.end(ending), {}, "length"),
    ):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        assert content == common | {"choices": [choice]}
    assert chunks.usage(ending) == common | {"choices": [], "usage": ending.usage()}
