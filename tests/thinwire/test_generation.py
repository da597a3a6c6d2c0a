import math

import pytest

from thinwire.errors import InvalidRequestError
from thinwire.generation import MAX_QUESTION_CHARACTERS, Generation, check_question
from thinwire.v1 import link_pb2


@pytest.mark.parametrize(
    "generation", [Generation(), Generation(256, 2.0, 0.1, 2**64 - 1), Generation(1, 0.3, 1.0, 0)], ids=repr
)
def test_across_the_link(generation):
    message = link_pb2.Generation.FromString(generation.to_message().SerializeToString())
    assert Generation.from_message(message) == generation


def test_what_a_frame_leaves_out():
    assert Generation.from_message(link_pb2.Generation()) == Generation(16, 0.0, 1.0, None)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("max_new_tokens", [0, -1, 257]),
        ("temperature", [-0.1, 2.1, math.nan, math.inf]),
        ("top_p", [0, -1, 1.1, math.nan]),
        ("seed", [-1, 2**64]),
    ],
)
def test_limits(name, values):
    for value in values:
        with pytest.raises(InvalidRequestError, match=f"{name} must be .* got {value}"):
            Generation(**{name: value})


def test_the_length_of_a_question_counts_characters():
    check_question("")
    check_question("犬" * MAX_QUESTION_CHARACTERS)
    with pytest.raises(InvalidRequestError, match="got 2001"):
        check_question("a" * (MAX_QUESTION_CHARACTERS + 1))
