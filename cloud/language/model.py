"""A LLaVA that answers questions about tokens from anywhere, a different number of them for each image."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cloud.answerer import Answer, Question
from cloud.language.generate import Row, generate
from cloud.language.prefix import VisualPrefix, compute_prefixes
from thinwire.errors import BundleError, InvalidRequestError, ThinwireError
from thinwire.prompt import Prompt


class LanguageModel:
    """Projector and language model of a ``LlavaForConditionalGeneration``, and its vision tower for plain images.

    Args:
        model: in evaluation mode.
        tokenizer: of the same checkpoint.
        prompt: see `thinwire.prompt.Prompt`.

    Attributes:
        model: the whole of it.
        tokenizer: its own.
        context: most tokens of prompt and answer together.
        width: width of the tokens that the projector takes.

    Raises:
        BundleError: the prompt does not suit the tokenizer.
    """

    def __init__(self, model: Any, tokenizer: Any, prompt: str) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.prompt = Prompt(prompt, tokenizer, model.config.image_token_id)
        text = model.config.get_text_config()
        self._ends = _ends(model.generation_config.eos_token_id, text.eos_token_id, tokenizer.eos_token_id)
        self.context: int = text.max_position_embeddings
        layers = model.config.vision_feature_layer
        self.width: int = model.config.vision_config.hidden_size * (len(layers) if isinstance(layers, list) else 1)

    @torch.inference_mode()
    def view_tokens(self, tokens: Sequence[Tensor]) -> list[VisualPrefix | ThinwireError]:
        """Read in ``N_i x width`` tokens of the vision tower for each image, in one batch."""
        lengths = [len(one) for one in tokens]
        # The projector works token by token, so that all of them are one batch without padding.
        projected = self.model.model.multi_modal_projector(torch.cat(list(tokens)).to(self._place(), self._dtype()))
        return list(compute_prefixes(self.model, self.prompt.before, projected.split(lengths)))

    @torch.inference_mode()
    def view_pixels(self, pixels: Tensor) -> list[VisualPrefix | ThinwireError]:
        """Read in a ``batch x 3 x size x size`` tensor of normalised images, through the vision tower."""
        seen = self.model.get_image_features(pixel_values=pixels.to(self._place(), self._dtype()))
        return list(compute_prefixes(self.model, self.prompt.before, list(seen.pooler_output)))

    def answer(self, questions: Sequence[Question]) -> list[Answer | ThinwireError]:
        """Answer questions about any prefixes together; see `cloud.answerer.Answerer`."""
        rows = [self._row(question) for question in questions]
        sound = [row for row in rows if isinstance(row, Row)]
        answers = iter(generate(self.model, self.tokenizer, self._ends, sound) if sound else ())
        return [next(answers) if isinstance(row, Row) else row for row in rows]

    def _row(self, question: Question) -> Row | InvalidRequestError:
        prefix = question.prefix
        assert isinstance(prefix, VisualPrefix)
        try:
            ids = self.prompt.after(question.text)
        except InvalidRequestError as error:
            return error
        length, new = prefix.length + len(ids), question.generation.max_new_tokens
        if length + new > self.context:
            return InvalidRequestError(
                f"image and question have {length} tokens, and {new} of the answer are too many for the language "
                f"model's {self.context}"
            )
        return Row(prefix, ids, question.generation, question.given_up.is_set, question.on_text)

    def _place(self) -> torch.device:
        device: torch.device = self.model.get_input_embeddings().weight.device
        return device

    def _dtype(self) -> torch.dtype:
        # Not that of the projector's weights, which may be quantised.
        dtype: torch.dtype = self.model.dtype
        return dtype


def _ends(*candidates: int | list[int] | None) -> frozenset[int]:
    """The ids that end an answer, from the first place that says which."""
    for candidate in candidates:
        if candidate is not None:
            return frozenset(candidate if isinstance(candidate, list) else [candidate])
    raise BundleError("neither the model nor its tokenizer says which token ends an answer")
