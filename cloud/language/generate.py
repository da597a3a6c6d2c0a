"""Answers to a batch of questions, each about a visual prefix of its own."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cloud.answerer import Answer
from cloud.language.detokeniser import Detokeniser
from cloud.language.prefix import VisualPrefix, join
from cloud.language.sampling import draw
from thinwire.errors import ThinwireError, UnavailableError
from thinwire.generation import Generation


@dataclass(frozen=True)
class Row:
    """One question of a batch.

    Attributes:
        prefix: what it is about.
        ids: tokens of the prompt after the image.
        generation: how to answer.
        is_given_up: whether nobody waits for the answer any more.
        on_text: told the whole text so far, whenever it has grown.
    """

    prefix: VisualPrefix
    ids: Sequence[int]
    generation: Generation
    is_given_up: Callable[[], bool]
    on_text: Callable[[str], None]


class _Writing:
    """The state of one answer."""

    def __init__(self, row: Row, tokenizer: Any, ends: frozenset[int]) -> None:
        self._row = row
        self._ends = ends
        self._detokeniser = Detokeniser(tokenizer)
        self._generator = np.random.default_rng(row.generation.seed)
        self._log_probability = 0.0
        self._tokens = 0
        self.outcome: Answer | ThinwireError | None = None

    def choose(self, likeliest: int, logits: Tensor) -> int:
        """The next token; ``logits`` are the vocabulary's."""
        asked = self._row.generation
        if asked.temperature == 0:
            return likeliest
        return draw(logits, asked.temperature, asked.top_p, self._generator.random())

    def push(self, token: int, log_probability: float) -> None:
        """Take in a token with its probability under the model, and see whether the answer ends with it."""
        if not math.isfinite(log_probability):
            self.outcome = ThinwireError("the language model has no finite answer to this question")
            return
        self._tokens += 1
        self._log_probability += log_probability
        is_end = token in self._ends
        has_grown = not is_end and self._detokeniser.push(token)
        if is_end or self._tokens == self._row.generation.max_new_tokens:
            has_grown = self._detokeniser.finish() or has_grown
            self.outcome = Answer(
                text=self._detokeniser.text,
                score=math.exp(self._log_probability / self._tokens),
                prompt_tokens=self._row.prefix.length + len(self._row.ids),
                tokens=self._tokens,
                finish_reason="stop" if is_end else "length",
            )
        if has_grown:
            self._row.on_text(self._detokeniser.text)

    def look_up(self) -> None:
        """End the answer if nobody waits for it."""
        if self.outcome is None and self._row.is_given_up():
            self.outcome = UnavailableError("nobody waits for this answer")


@torch.inference_mode()
def generate(model: Any, tokenizer: Any, ends: frozenset[int], rows: Sequence[Row]) -> list[Answer | ThinwireError]:
    """Answer several questions together; each gets what it would get alone.

    Args:
        model: a ``LlavaForConditionalGeneration``.
        tokenizer: of the same checkpoint.
        ends: ids that end an answer.

    Returns:
        one for each row; an error for one whose numbers are not finite, or that was given up.
    """
    writing = [_Writing(row, tokenizer, ends) for row in rows]
    cache, mask = join([row.prefix for row in rows])
    ids, positions, valid = _question_tokens(rows)
    live = list(range(len(rows)))
    mask = torch.cat((mask, valid.to(mask)), dim=1)
    while True:
        output = model(
            input_ids=ids.to(mask.device),
            attention_mask=mask,
            position_ids=positions.to(mask.device),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        tokens = _advance(output.logits[:, -1].float(), [writing[index] for index in live])
        kept = [place for place, index in enumerate(live) if writing[index].outcome is None]
        if not kept:
            return [one.outcome for one in writing if one.outcome is not None]
        if len(kept) < len(live):
            selected = torch.tensor(kept, device=mask.device)
            cache.batch_select_indices(selected)
            mask, positions = mask[selected], positions[torch.tensor(kept)]
            live = [live[place] for place in kept]
        ids = torch.tensor([[tokens[place]] for place in kept])
        positions = positions[:, -1:] + 1
        mask = torch.cat((mask, mask.new_ones(len(live), 1)), dim=1)


def _question_tokens(rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, positions and a mask of the questions, ``batch x longest``, padded on the left.

    So that all of them end at the same place. What is between a prefix and its question is masked, and a token's
    position is its rank among those that are not.
    """
    longest = max(len(row.ids) for row in rows)
    ids = torch.tensor([[0] * (longest - len(row.ids)) + list(row.ids) for row in rows])
    ranks = torch.arange(longest) - torch.tensor([[longest - len(row.ids)] for row in rows])
    positions = ranks.clamp_min(0) + torch.tensor([[row.prefix.length] for row in rows])
    return ids, positions, ranks >= 0


def _advance(logits: Tensor, writing: Sequence[_Writing]) -> list[int]:
    """Choose the next token of each answer, given its ``vocabulary`` logits."""
    likeliest = logits.argmax(-1).tolist()
    tokens = []
    log_probabilities = logits.log_softmax(-1)
    for index, one in enumerate(writing):
        one.look_up()
        token = one.choose(likeliest[index], logits[index]) if one.outcome is None else 0
        tokens.append(token)
    chosen = log_probabilities.gather(1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0].tolist()
    for one, token, log_probability in zip(writing, tokens, chosen, strict=True):
        if one.outcome is None:
            one.push(token, log_probability)
    return tokens
