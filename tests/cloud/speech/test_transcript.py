"""Segments by timestamps."""

import zlib

import pytest
from transformers import GenerationConfig

from cloud.speech.transcript import compression_ratio, split
from cloud.speech.vocabulary import Vocabulary
from tests.speech import make_tokenizer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" one", [(0.0, 0.9, " one")]),
        ("<|0.10|> one<|0.30|>", [(0.1, 0.3, " one")]),
        ("<|0.10|> one<|0.30|><|0.30|> two<|0.50|>", [(0.1, 0.3, " one"), (0.3, 0.5, " two")]),
        # A pause between them.
        ("<|0.00|> one<|0.30|><|0.44|> two<|0.50|><|0.50|>", [(0.0, 0.3, " one"), (0.44, 0.5, " two")]),
        # Cut in the middle.
        ("<|0.00|> one<|0.30|><|0.44|> two", [(0.0, 0.3, " one"), (0.44, 0.9, " two")]),
        ("<|0.00|> one two", [(0.0, 0.9, " one two")]),
        # Later than the clip is said to be.
        ("<|0.96|> one two", [(0.96, 0.96, " one two")]),
        ("<|0.00|><|0.50|> one<|0.52|>", [(0.5, 0.52, " one")]),
        ("<|0.00|><|0.02|>", []),
    ],
)
def test_segments(text, expected):
    tokenizer = make_tokenizer()
    vocabulary = Vocabulary(tokenizer, GenerationConfig())
    ids = tokenizer(text, add_special_tokens=False).input_ids
    found = split(vocabulary, ids, 0.9)
    assert [(one.start, one.end, one.text) for one in found] == expected
    assert all(set(one.tokens) <= set(ids) for one in found)


def test_a_text_that_repeats_itself_has_a_high_ratio():
    assert compression_ratio("one two three four") < 1.2
    assert compression_ratio("one two " * 40) == pytest.approx(320 / len(zlib.compress(b"one two " * 40)))
    assert compression_ratio("one two " * 40) > 10
    assert compression_ratio("") == 0
