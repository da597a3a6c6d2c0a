import base64
import json

import pytest

from thinwire.errors import InvalidImageError, InvalidRequestError, ThinwireError
from thinwire.rest.openai import ChatBody, from_chat
from thinwire.rest.parsing import parse_json
from thinwire.rest.schemas import VqaParameters

IMAGE = bytes(range(200))
URL = "data:image/png;base64," + base64.b64encode(IMAGE).decode()
TEXT = {"type": "text", "text": "what?"}


def image(url=URL, **fields):
    return {"type": "image_url", "image_url": {"url": url, **fields}}


def body(*content, **fields):
    content = list(content) or [TEXT, image()]
    return {"model": "gpt", "messages": [{"role": "user", "content": content}]} | fields


def read(content):
    return from_chat(parse_json(ChatBody, json.dumps(content).encode()))


def test_one_image_and_one_question():
    asked = read(body())
    assert (asked.image, asked.question, asked.stream, asked.include_usage) == (IMAGE, "what?", False, False)
    # Nobody who speaks this form expects an answer that is cut off.
    assert asked.parameters == VqaParameters(max_new_tokens=256)


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


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_on_the_tokens_is_an_upper_bound(name):
    assert read(body(**{name: 256})).parameters.max_new_tokens == 256
    for above in (257, 300, 10**30):
        assert read(body(**{name: above})).parameters.max_new_tokens == 256


# What OpenAI's API documents as the value that is taken when the field is left out, or asks for nothing.
NEUTRAL = {
    "audio": [],
    "frequency_penalty": [0, 0.0, -0.0],
    "function_call": ["none", "auto"],
    "functions": [[]],
    "logit_bias": [{}],
    "logprobs": [False],
    "max_completion_tokens": [],
    "max_tokens": [],
    "metadata": [{}, {"run": "3"}],
    "modalities": [["text"]],
    "moderation": [],
    "n": [1],
    "parallel_tool_calls": [True, False],
    "prediction": [],
    "presence_penalty": [0],
    "prompt_cache_key": ["k"],
    "prompt_cache_options": [{"mode": "implicit"}],
    "prompt_cache_retention": ["in_memory", "24h"],
    "reasoning_effort": ["none"],
    "response_format": [{"type": "text"}],
    "safety_identifier": ["s"],
    "seed": [],
    "service_tier": ["auto", "default"],
    "stop": [[]],
    "store": [False],
    "stream": [False],
    "stream_options": [{}, {"include_obfuscation": False}],
    "temperature": [0],
    "tool_choice": ["none", "auto"],
    "tools": [[]],
    "top_logprobs": [0],
    "top_p": [1],
    "user": ["u"],
    "verbosity": ["medium"],
    "web_search_options": [],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in NEUTRAL.items() for value in (None, *values)]
)
def test_neutral_values_change_nothing(name, value):
    assert read(body(**{name: value})) == read(body())


ASKING = {
    "audio": {"voice": "x", "format": "wav"},
    "frequency_penalty": 0.5,
    "function_call": {"name": "f"},
    "functions": [{"name": "f"}],
    "logit_bias": {"7": 100},
    "logprobs": True,
    "metadata": {"run": 3},
    "modalities": ["text", "audio"],
    "moderation": {"model": "m"},
    "n": 2,
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": -0.5,
    "prompt_cache_options": {"mode": "explicit"},
    "reasoning_effort": "high",
    "response_format": {"type": "json_object"},
    "service_tier": "flex",
    "stop": ["\n"],
    "store": True,
    "stream_options.include_obfuscation": True,
    "tool_choice": "required",
    "tools": [{"type": "function", "function": {"name": "f"}}],
    "top_logprobs": 3,
    "verbosity": "low",
    "web_search_options": {},
    "tokens": 3,
}


@pytest.mark.parametrize("name", ASKING)
def test_what_is_not_done_is_refused_by_name(name):
    field, _, inner = name.partition(".")
    with pytest.raises(InvalidRequestError, match=name) as raised:
        read(body(**{field: {inner: ASKING[name]} if inner else ASKING[name]}))
    # Of a mapping's value, the key stands behind the name.
    assert raised.value.param in (name, "metadata.run")
    assert str(raised.value).startswith(raised.value.param + ": ")


@pytest.mark.parametrize(
    ("name", "value"), [("n", True), ("logprobs", 0), ("frequency_penalty", False), ("store", 0), ("top_logprobs", "0")]
)
def test_a_neutral_value_of_another_type_is_none(name, value):
    with pytest.raises(InvalidRequestError, match=f"{name}: .*expected null or .*, got {json.dumps(value)}"):
        read(body(**{name: value}))


def test_a_refused_value_is_shown_in_part():
    with pytest.raises(InvalidRequestError) as raised:
        read(body(stop=["犬" * 100_000]))
    assert str(raised.value) == "stop: not supported here: expected null or [], got " + '["' + "犬" * 78


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize("content", ["", " \n", [], [{"type": "text", "text": ""}]])
def test_an_empty_message_of_the_system_says_nothing(role, content):
    asked = read(body() | {"messages": [{"role": role, "content": content}, USER]})
    assert asked == read(body())


USER = {"role": "user", "content": [TEXT, image()]}
SAID = {"role": "system", "content": "be brief"}
DEVELOPER = {"role": "developer", "content": [{"type": "text", "text": "be brief"}]}
ASSISTANT = {"role": "assistant", "content": "red"}
REFUSED = {
    "http": (body(TEXT, image("http://example.org/a.png")), "messages", "nothing is fetched"),
    "https": (body(TEXT, image("https://example.org/a.png")), "messages", "nothing is fetched"),
    "file": (body(TEXT, image("file:///etc/passwd")), "messages", "nothing is fetched"),
    "no url": (body(TEXT, image("")), "messages", "nothing is fetched"),
    "no image": (body(TEXT), "messages", "one image, got 0"),
    "two images": (body(TEXT, image(), image()), "messages", "one image, got 2"),
    "no question": (body(image()), "messages", "1 to 2000 characters, got 0"),
    "long question": (body({"type": "text", "text": "a" * 2001}, image()), "messages", "2000 characters, got 2001"),
    "text alone": (
        body() | {"messages": [{"role": "user", "content": "what?"}]},
        "messages",
        "one image, got 0; .*data:",
    ),
    "no content": (body() | {"messages": [{"role": "user", "content": 3}]}, "messages.0.content", "array"),
    "no base64": (body(TEXT, image("data:image/png;base64,*")), None, "not base64"),
    "not in base64": (body(TEXT, image("data:image/png,abc")), None, "expected data:image"),
    "not an image": (body(TEXT, image("data:text/html;base64,YQ==")), None, "expected data:image"),
    "no comma": (body(TEXT, image("data:image/png;base64")), None, "expected data:image"),
    "system": (body() | {"messages": [SAID, USER]}, "messages", "messages.0: the model reads no system message"),
    "developer": (body() | {"messages": [USER, DEVELOPER]}, "messages", "messages.1: the model reads no developer"),
    "assistant": (body() | {"messages": [USER, ASSISTANT, USER]}, "messages.1.role", "'user', 'system' or"),
    "two messages": (body() | {"messages": [USER, USER]}, "messages", "one user message, .* got 2"),
    "no user": (body() | {"messages": [{"role": "system", "content": ""}]}, "messages", "one user message, .* got 0"),
    "no message": (body() | {"messages": []}, "messages", "at least 1"),
    "both limits": (body(max_tokens=3, max_completion_tokens=3), "max_completion_tokens", "one thing"),
    "no tokens": (body(max_tokens=0), "max_tokens", "max_tokens: .*greater than or equal to 1"),
    "fewer": (body(max_completion_tokens=-1), "max_completion_tokens", "max_completion_tokens: .*greater than or"),
    "half a token": (body(max_tokens=1.5), "max_tokens", "max_tokens"),
    "temperature": (body(temperature=3.0), "temperature", "temperature"),
    "not finite": (body(temperature=float("nan")), "temperature", "temperature"),
    "budget": (body(budget={"channel_uses": 0}), "budget.channel_uses", "greater than 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    content, param, words = REFUSED[name]
    with pytest.raises(ThinwireError, match=words) as raised:
        read(content)
    assert type(raised.value) is (InvalidRequestError if param else InvalidImageError)
    assert raised.value.param == param
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    ("part", "param", "words"),
    [
        ({"type": "image_url", "image_url": {"url": 7}}, "messages.0.content.1.image_url.url", "string, got 7"),
        ({"type": "image_url"}, "messages.0.content.1.image_url", "required"),
        ({"type": "text", "text": 7}, "messages.0.content.1.text", "string, got 7"),
        ({"type": "text", "text": "", "more": 7}, "messages.0.content.1.more", "not permitted, got 7"),
        ({"type": "input_text"}, "messages.0.content.1", "'input_text'"),
    ],
)
def test_a_mistake_in_a_part_is_named_as_it_was_sent(part, param, words):
    with pytest.raises(InvalidRequestError, match=words) as raised:
        read(body(TEXT, part))
    assert raised.value.param == param
    assert str(raised.value).startswith(f"{param}: ")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "seed", "n"])
def test_an_integer_may_have_a_fraction_of_zero(name):
    assert read(body(**{name: 1.0})) == read(body(**{name: 1}))


def test_media_types_have_no_case():
    assert read(body(TEXT, image("DATA:IMAGE/PNG;BASE64," + URL.partition(",")[2]))).image == IMAGE
