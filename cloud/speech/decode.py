"""One attempt at the transcripts of a batch, by transformers' own loops of generation."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    GenerationMixin,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    WhisperTimeStampLogitsProcessor,
)

from cloud.language.detokeniser import Detokeniser
from cloud.language.sampling import draw
from cloud.speech.memory import Memory
from cloud.speech.vocabulary import Vocabulary


@dataclass
class Attempt:
    """One transcript as it is written.

    Attributes:
        most: tokens at the most, the end included.
        generator: what draws at a temperature.
        is_given_up: whether nobody waits for it any more.
        on_text: told the whole text so far, whenever it has grown.
        tokens: without the end.
        logprob: sum over the tokens and the end.
        is_ended: whether the end is written.
    """

    temperature: float
    most: int
    generator: np.random.Generator
    is_given_up: Callable[[], bool]
    on_text: Callable[[str], None]
    tokens: list[int] = field(default_factory=list)
    logprob: float = 0.0
    is_ended: bool = False

    @property
    def avg_logprob(self) -> float:
        """As OpenAI has it, a cut transcript's end costs nothing."""
        return self.logprob / (len(self.tokens) + 1)


class _Choice(LogitsProcessor):  # type: ignore[misc]
    """Chooses each row's token, the last of the processors: greedy search then finds nothing else left.

    So rows of different temperatures share a batch, and each draws from a generator of its own.
    """

    def __init__(self, attempts: Sequence[Attempt], tokenizer: Any, vocabulary: Vocabulary) -> None:
        self._attempts = attempts
        self._vocabulary = vocabulary
        self._texts = [Detokeniser(tokenizer) for _ in attempts]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        likeliest = scores.argmax(-1)
        chosen = likeliest.tolist()
        for row, one in enumerate(self._attempts):
            if one.temperature and not is_over(one):
                chosen[row] = draw(scores[row], one.temperature, 1.0, one.generator.random())
        tokens = torch.tensor(chosen, device=scores.device)[:, None]
        logprobs = scores.log_softmax(-1).gather(1, tokens)[:, 0].tolist()
        for row, one in enumerate(self._attempts):
            if not is_over(one):
                self._push(row, chosen[row], logprobs[row])
        if torch.equal(likeliest, tokens[:, 0]):
            return scores
        only: Any = torch.full_like(scores, float("-inf")).scatter_(1, tokens, 0.0)
        return only  # type: ignore[no-any-return]

    def finish(self) -> None:
        """Nothing follows."""
        for one, text in zip(self._attempts, self._texts, strict=True):
            if text.finish():
                one.on_text(text.text)

    def _push(self, row: int, token: int, logprob: float) -> None:
        one, text = self._attempts[row], self._texts[row]
        one.logprob += logprob
        if token == self._vocabulary.end:
            one.is_ended = True
            return
        one.tokens.append(token)
        if token < self._vocabulary.end and text.push(token):
            one.on_text(text.text)


class _Stop(StoppingCriteria):  # type: ignore[misc]
    def __init__(self, attempts: Sequence[Attempt]) -> None:
        self._attempts = attempts

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs: Any) -> Any:
        beams = len(input_ids) // len(self._attempts)
        over = torch.tensor([is_over(one) for one in self._attempts], device=input_ids.device)
        return over.repeat_interleave(beams)


def is_over(attempt: Attempt) -> bool:
    """Whether nothing more is to be written: it has ended, is full, nobody waits, or its numbers are not finite."""
    is_full = len(attempt.tokens) >= attempt.most
    return attempt.is_ended or is_full or not math.isfinite(attempt.logprob) or attempt.is_given_up()


def decode(
    model: Any,
    tokenizer: Any,
    vocabulary: Vocabulary,
    memory: Memory,
    begin: Tensor,
    attempts: Sequence[Attempt],
    *,
    timestamps: bool,
    beams: int,
) -> None:
    """Write transcripts.

    Args:
        model: a ``WhisperForConditionalGeneration`` whose generation configuration is complete.
        begin: ``batch x L`` int64, what each begins with.
        attempts: one for each clip, empty as yet; for beam search at temperature 0, and of one limit.
    """
    length = begin.shape[1]
    processors: list[LogitsProcessor] = []
    if timestamps:
        processors.append(WhisperTimeStampLogitsProcessor(model.generation_config, begin_index=length))
    choice = None if beams > 1 else _Choice(attempts, tokenizer, vocabulary)
    # Whisper's own `generate` is one for features: with tokens in their place, a fallback of some of a batch fails.
    # The lists of suppressed tokens come from the model's generation configuration.
    sequences: Any = GenerationMixin.generate(
        model,
        encoder_outputs=memory.outputs,
        decoder_input_ids=begin,
        logits_processor=LogitsProcessorList([*processors, *([choice] if choice else [])]),
        stopping_criteria=StoppingCriteriaList([_Stop(attempts)]),
        do_sample=False,
        num_beams=beams,
        max_new_tokens=max(one.most for one in attempts),
        max_length=None,
        return_dict_in_generate=False,
    )
    if choice:
        choice.finish()
        return
    _score(model, memory, sequences, length, vocabulary, attempts)
    for one in attempts:
        one.on_text(vocabulary.text(one.tokens).strip())


def read(model: Any, memory: Memory, ids: Tensor) -> Tensor:
    """Logits behind each of ``batch x L`` tokens, ``batch x L x vocabulary`` in float32."""
    logits: Tensor = model(encoder_outputs=memory.outputs, decoder_input_ids=ids, use_cache=False).logits.float()
    return logits


def _score(
    model: Any, memory: Memory, sequences: Tensor, length: int, vocabulary: Vocabulary, attempts: Sequence[Attempt]
) -> None:
    """Take in what beam search found, with its log-probabilities, which it keeps for itself."""
    logprobs = read(model, memory, sequences[:, :-1])[:, length - 1 :].log_softmax(-1)
    found = logprobs.gather(2, sequences[:, length:, None])[..., 0].tolist()
    for one, row, values in zip(attempts, sequences[:, length:].tolist(), found, strict=True):
        one.is_ended = vocabulary.end in row
        count = row.index(vocabulary.end) if one.is_ended else len(row)
        one.tokens = row[:count]
        one.logprob = sum(values[: count + 1])
