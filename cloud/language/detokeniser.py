"""Text from tokens, piece by piece."""

from typing import Any

# What decoders put where bytes are no whole character, or not yet.
BROKEN = "\ufffd"


class Detokeniser:
    """Gives out of an answer what later tokens cannot change any more.

    Decoding token by token would break characters of several tokens and lose the spaces between words, so all of them
    are decoded each time; answers are short. White space at both ends is no part of an answer.

    Args:
        tokenizer: of the checkpoint.

    Attributes:
        text: what stands so far; it only grows.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self.text = ""

    def push(self, token_id: int) -> bool:
        """Take in a token; whether the text has grown."""
        self._ids.append(token_id)
        return self._grow(self._decode().rstrip(BROKEN).rstrip())

    def finish(self) -> bool:
        """Take in that no token will come, so that what is broken stays so; whether the text has grown."""
        return self._grow(self._decode().rstrip())

    def _decode(self) -> str:
        decoded: str = self._tokenizer.decode(self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return decoded.lstrip()

    def _grow(self, text: str) -> bool:
        # By length: a decoder that turns a run of bytes back into broken ones may change what was given out.
        has_grown = len(text) > len(self.text)
        if has_grown:
            self.text += text[len(self.text) :]
        return has_grown
