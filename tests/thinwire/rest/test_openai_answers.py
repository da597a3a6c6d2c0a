import json

import pytest

from thinwire.rest.openai_answers import Chunks, Ending, to_completion
from thinwire.rest.schemas import AnswerBody, TimingsBody, VqaResponse


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


@pytest.mark.parametrize("include_usage", [False, True])
def test_chunks(include_usage):
    chunks, ending = Chunks("ab", "tiny", 5, include_usage), Ending("length", 7, 3)
    text = chunks.start() + chunks.piece("red") + chunks.piece(" one") + chunks.end(ending)
    *events, done, rest = text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    common = {"id": "chatcmpl-ab", "object": "chat.completion.chunk", "created": 5, "model": "tiny"}
    deltas = [
        ({"role": "assistant", "content": "", "refusal": None}, None),
        ({"content": "red"}, None),
        ({"content": " one"}, None),
        ({}, "length"),
    ]
    expected = [
        common | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]}
        for delta, reason in deltas
    ]
    if include_usage:
        expected = [chunk | {"usage": None} for chunk in expected]
        expected.append(common | {"choices": [], "usage": ending.usage()})
    assert [json.loads(event.removeprefix("data: ")) for event in events] == expected
