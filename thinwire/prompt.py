"""The text around image and question, as tokens."""

from typing import Any

from thinwire.errors import BundleError, InvalidRequestError

IMAGE = "<image>"
QUESTION = "{question}"


class Prompt:
    """Splits a prompt where the image stands.

    The whole prompt is tokenised at once, as `transformers`' processor does, because many tokenisers treat the
    beginning of a text in another way than its middle.

    Args:
        template: holds ``<image>`` once and, after it, ``{question}`` once.
        tokenizer: of the checkpoint; the image is one token of it.
        image_token_id: the id that the model's configuration gives the image.

    Attributes:
        before: ids of what stands before the image.

    Raises:
        BundleError: the template is not like that, or the tokeniser has another image token.
    """

    def __init__(self, template: str, tokenizer: Any, image_token_id: int) -> None:
        if template.count(IMAGE) != 1 or template.partition(IMAGE)[2].count(QUESTION) != 1:
            raise BundleError(f"the prompt must hold {IMAGE} once and {QUESTION} once after it, got {template[:200]!r}")
        self._template = template
        self._tokenizer = tokenizer
        self._image_token_id = image_token_id
        # In a question, these would be no text any more; an unknown word may be.
        self._reserved = {image_token_id, *tokenizer.all_special_ids} - {tokenizer.unk_token_id}
        ids = self._ids("")
        self._own = self._count_reserved(ids)
        if ids.count(image_token_id) != 1 or tokenizer.convert_tokens_to_ids(IMAGE) != image_token_id:
            raise BundleError(f"the tokeniser must make {IMAGE} the model's image token, {image_token_id}; got {ids}")
        self.before: list[int] = ids[: ids.index(image_token_id)]

    def after(self, question: str) -> list[int]:
        """Ids of what stands after the image: the question and the text around it.

        Raises:
            InvalidRequestError: the question holds the text of one of the tokeniser's special tokens.
        """
        ids = self._ids(question)
        if self._count_reserved(ids) != self._own:
            raise InvalidRequestError("a question may not hold the text of a special token, such as <image>")
        return ids[ids.index(self._image_token_id) + 1 :]

    def _count_reserved(self, ids: list[int]) -> int:
        return sum(one in self._reserved for one in ids)

    def _ids(self, question: str) -> list[int]:
        ids: list[int] = self._tokenizer(self._template.replace(QUESTION, question)).input_ids
        return ids
