from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.language.detokeniser import BROKEN, Detokeniser
from tests.llava import make_byte_tokenizer, make_tokenizer

BYTES, WORDS = make_byte_tokenizer(), make_tokenizer()


def pieces_of(tokenizer, ids):
    detokeniser, pieces, told = Detokeniser(tokenizer), [], ""
    for step in [*ids, None]:
        grown = detokeniser.finish() if step is None else detokeniser.push(step)
        assert grown == (detokeniser.text != told)
        assert detokeniser.text.startswith(told)
        pieces.append(detokeniser.text[len(told) :])
        told = detokeniser.text
    return pieces, told


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=20))
def test_whole_characters_come_whole(text):
    text = text.replace(BROKEN, "").strip()
    ids = BYTES(text, add_special_tokens=False).input_ids
    _, told = pieces_of(BYTES, ids)
    assert told == BYTES.decode(ids).strip()
    assert BROKEN not in told
    assert told == text


@settings(max_examples=60, deadline=None)
@given(ids=st.lists(st.integers(0, len(BYTES) - 1), max_size=12))
def test_bytes_that_are_no_text_come_as_they_are_decoded_in_the_end(ids):
    _, told = pieces_of(BYTES, ids)
    assert told == BYTES.decode(ids, skip_special_tokens=True).strip()


def test_a_character_of_several_tokens_waits_for_the_last():
    ids = BYTES("a犬b", add_special_tokens=False).input_ids
    assert pieces_of(BYTES, ids)[0] == ["a", "", "", "犬", "b", ""]


def test_a_character_that_is_never_finished_is_told_at_the_end():
    ids = BYTES("a犬", add_special_tokens=False).input_ids[:-1]
    pieces, told = pieces_of(BYTES, ids)
    assert pieces[-1] == BROKEN
    assert told == f"a{BROKEN}"


def test_spaces_between_words_are_kept_and_those_at_the_ends_are_not():
    ids = BYTES("  red  circle \n", add_special_tokens=False).input_ids
    pieces, told = pieces_of(BYTES, ids)
    assert told == "red  circle"
    assert "  c" in pieces
    ids = WORDS("red circle ?", add_special_tokens=False).input_ids
    assert pieces_of(WORDS, ids)[0] == ["red", " circle", " ?", ""]


def test_special_tokens_are_no_text():
    assert pieces_of(WORDS, [1, *WORDS("red", add_special_tokens=False).input_ids, 0])[1] == "red"
