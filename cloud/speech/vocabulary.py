"""Whisper's special tokens: what a transcript begins with, and what may never be in one."""

from collections.abc import Iterable
from typing import Any

from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from thinwire.errors import BundleError, InvalidRequestError
from thinwire.transcription import TranscriptionOptions

# As many as the encoder has positions.
TIMESTAMPS_PER_SECOND = 50
# OpenAI's `max_initial_timestamp` of 1 s.
MAX_INITIAL_TIMESTAMP = 50
# What OpenAI's reference suppresses (`whisper.tokenizer.Tokenizer.non_speech_tokens`), since nobody speaks it: these
# where they are one token, alone or behind a space; a hyphen and an apostrophe behind a space; notes in any case.
SYMBOLS = (
    *'"#()*+/:;<=>@[\\]^_`{|}~「」『』',
    *("<<", ">>", "<<<", ">>>", "--", "---", "-(", "-[", "('", '("', "((", "))", "(((", ")))", "[[", "]]", "{{", "}}"),
    *("♪♪", "♪♪♪"),
)
NOTES = "♩♪♫♬♭♮♯"
NEVER_SPOKEN = ("translate", "transcribe", "startoftranscript", "startofprev", "startoflm")
NEEDED = ("endoftext", "startoftranscript", "startofprev", "transcribe", "translate", "notimestamps")


class Vocabulary:
    """The ids that decoding goes by. All text has ids below that of the end, all timestamps above every other's.

    Args:
        tokenizer: a ``WhisperTokenizer``.
        generation: the model's ``GenerationConfig``, which says what languages there are; see `complete`.

    Attributes:
        end: ends a transcript.
        start: begins one.
        no_speech: its probability right behind `start` is that of nobody speaking.
        first_timestamp: 0.00 s; there are `TIMESTAMPS_PER_SECOND`.
        languages: token by code; empty for a model of English alone.

    Raises:
        BundleError: the tokenizer is not Whisper's, or the languages are missing.
    """

    def __init__(self, tokenizer: Any, generation: Any) -> None:
        self._tokenizer = tokenizer
        ids: dict[str, int] = tokenizer.get_vocab()
        if missing := [name for name in NEEDED if f"<|{name}|>" not in ids]:
            raise BundleError(f"expected Whisper's tokenizer, got one without <|{missing[0]}|>")
        self._ids = ids
        self.end = ids["<|endoftext|>"]
        self.start = ids["<|startoftranscript|>"]
        self._no_timestamps = ids["<|notimestamps|>"]
        # As transformers has it: the name was another one once.
        self.no_speech = self._no_timestamps - 1
        self.first_timestamp = self._no_timestamps + 1
        languages: dict[str, int] = getattr(generation, "lang_to_id", None) or {}
        if getattr(generation, "is_multilingual", False) and not languages:
            raise BundleError("the model knows several languages, but its generation configuration has no lang_to_id")
        self.languages = {name.strip("<|>"): number for name, number in languages.items()}

    def language(self, options: TranscriptionOptions) -> int | None:
        """The token of the language that was asked for; None: of none.

        Raises:
            InvalidRequestError: the model does not know it, or cannot translate.
        """
        code = options.language and TO_LANGUAGE_CODE.get(options.language.lower(), options.language.lower())
        if not self.languages:
            if code not in (None, "en") or options.task == "translate":
                param = "task" if code in (None, "en") else "language"
                raise InvalidRequestError("this model writes down English alone, and translates nothing", param)
            return None
        if code is not None and code not in self.languages:
            known = ", ".join(sorted(self.languages))
            raise InvalidRequestError(f"expected one of {known} as language, got {options.language!r}", "language")
        return None if code is None else self.languages[code]

    def before(self, prompt: str, most: int) -> list[int]:
        """What stands in front of the start: the last ``most`` tokens of a prompt, and its own beginning.

        Raises:
            InvalidRequestError: there are special tokens in it.
        """
        if not prompt.strip():
            return []
        ids: list[int] = self._tokenizer(" " + prompt.strip(), add_special_tokens=False).input_ids
        if any(token >= self.end for token in ids):
            raise InvalidRequestError("a prompt may have no special tokens such as <|endoftext|>", "prompt")
        return [self._ids["<|startofprev|>"], *ids[-most:]]

    def text(self, tokens: Iterable[int]) -> str:
        """What tokens say, without timestamps, and with the white space around it."""
        said = [token for token in tokens if token < self.end]
        text: str = self._tokenizer.decode(said, clean_up_tokenization_spaces=False)
        return text

    def begin(self, options: TranscriptionOptions, language: int | None) -> list[int]:
        """The start and what is said behind it: language and task, where there are several, and no timestamps."""
        told = [] if language is None else [language, self._ids[f"<|{options.task}|>"]]
        return [self.start, *told, *([] if options.timestamps else [self._no_timestamps])]


def language_name(code: str) -> str:
    """The name in English, lower case, of a language that Whisper has a code for; of any other, the code."""
    name: str = LANGUAGES.get(code, code)
    return name


def complete(tokenizer: Any, generation: Any) -> None:
    """Put into a generation configuration what converted weights may come without, as OpenAI's reference has it.

    For tiny.en that is, as in ``generation_config.json`` of openai/whisper-tiny.en: ``begin_suppress_tokens`` 220 (a
    space) and 50256 (the end), ``suppress_tokens`` the 84 of `SYMBOLS` and `NOTES` and 50257, 50357 to 50361, and
    ``max_initial_timestamp_index`` 50. What it has already stays.
    """
    ids: dict[str, int] = tokenizer.get_vocab()
    end, no_timestamps = ids["<|endoftext|>"], ids["<|notimestamps|>"]
    if generation.suppress_tokens is None:
        special = [ids[f"<|{name}|>"] for name in NEVER_SPOKEN if f"<|{name}|>" in ids]
        generation.suppress_tokens = sorted({*_symbols(tokenizer), *special, no_timestamps - 1})
    if generation.begin_suppress_tokens is None:
        generation.begin_suppress_tokens = [*_encode(tokenizer, " "), end]
    if getattr(generation, "no_timestamps_token_id", None) is None:
        generation.no_timestamps_token_id = no_timestamps
    if getattr(generation, "max_initial_timestamp_index", None) is None:
        generation.max_initial_timestamp_index = MAX_INITIAL_TIMESTAMP


def _encode(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return ids


def _symbols(tokenizer: Any) -> set[int]:
    found = {_encode(tokenizer, " -")[0], _encode(tokenizer, " '")[0]}
    for symbol in (*SYMBOLS, *NOTES):
        for tokens in (_encode(tokenizer, symbol), _encode(tokenizer, f" {symbol}")):
            if len(tokens) == 1 or symbol in NOTES:
                found.add(tokens[0])
    return found
