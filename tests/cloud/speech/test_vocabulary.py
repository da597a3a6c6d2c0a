"""Special tokens, and what is never said."""

import pytest
from transformers import GenerationConfig
from transformers.models.whisper.configuration_whisper import NON_SPEECH_TOKENS

from cloud.speech.vocabulary import Vocabulary, complete
from tests.speech import make_tokenizer
from thinwire.errors import BundleError
from thinwire.transcription import TranscriptionOptions


def test_lists_that_are_missing_are_made_by_the_rule_of_openai():
    tokenizer, generation = make_tokenizer(("en", "de")), GenerationConfig()
    complete(tokenizer, generation)
    names = [
        *'"#()*+/:;<=>@[\\]^_`{|}~',
        # " -" is a token here and "'" behind a space is none: the space is its first then; "--" is one token.
        *("Ġ-", "Ġ", "--"),
        # First bytes of the notes, alone; behind a space it is the space.
        *("â", "Ġ"),
        *(f"<|{name}|>" for name in ("startoftranscript", "translate", "transcribe", "startoflm", "startofprev")),
        "<|nospeech|>",
    ]
    assert generation.suppress_tokens == sorted({tokenizer.get_vocab()[name] for name in names})
    assert generation.begin_suppress_tokens == [tokenizer.get_vocab()[name] for name in ("Ġ", "<|endoftext|>")]
    assert generation.no_timestamps_token_id == tokenizer.get_vocab()["<|notimestamps|>"]
    assert generation.max_initial_timestamp_index == 50


def test_lists_that_are_there_stay():
    generation = GenerationConfig(suppress_tokens=list(NON_SPEECH_TOKENS), begin_suppress_tokens=[])
    generation.no_timestamps_token_id, generation.max_initial_timestamp_index = 7, 3
    complete(make_tokenizer(), generation)
    assert (generation.suppress_tokens, generation.begin_suppress_tokens) == (NON_SPEECH_TOKENS, [])
    assert (generation.no_timestamps_token_id, generation.max_initial_timestamp_index) == (7, 3)


def named(tokenizer, tokens):
    return [tokenizer.convert_ids_to_tokens(token).strip("<|>") for token in tokens]


@pytest.mark.parametrize("timestamps", [False, True])
def test_what_a_transcript_begins_with(timestamps):
    last = [] if timestamps else ["notimestamps"]
    asked = TranscriptionOptions(language="GERMAN", task="translate", timestamps=timestamps)
    tokenizer, generation = make_tokenizer(("en", "de")), GenerationConfig()
    generation.lang_to_id = {f"<|{code}|>": tokenizer.get_vocab()[f"<|{code}|>"] for code in ("en", "de")}
    several = Vocabulary(tokenizer, generation)
    begin = several.begin(asked, several.language(asked))
    assert named(tokenizer, begin) == ["startoftranscript", "de", "translate", *last]
    english = TranscriptionOptions(language="en", timestamps=timestamps)
    one = Vocabulary(make_tokenizer(), GenerationConfig())
    assert named(make_tokenizer(), one.begin(english, one.language(english))) == ["startoftranscript", *last]


def test_a_prompt_stands_in_front_and_keeps_its_end():
    vocabulary = Vocabulary(make_tokenizer(), GenerationConfig())
    assert named(make_tokenizer(), vocabulary.before("one two", 9)) == ["startofprev", "Ġone", "Ġtwo"]
    assert named(make_tokenizer(), vocabulary.before("one two", 1)) == ["startofprev", "Ġtwo"]
    assert vocabulary.before(" \n", 9) == []


def test_another_tokenizer():
    tokenizer = make_tokenizer()
    names = tokenizer.get_vocab()
    del names["<|startofprev|>"]
    tokenizer.get_vocab = lambda: names
    with pytest.raises(BundleError, match=r"expected Whisper's tokenizer, got one without <\|startofprev\|>"):
        Vocabulary(tokenizer, GenerationConfig())


def test_several_languages_without_their_names():
    generation = GenerationConfig()
    generation.is_multilingual = True
    with pytest.raises(BundleError, match="has no lang_to_id"):
        Vocabulary(make_tokenizer(), generation)
