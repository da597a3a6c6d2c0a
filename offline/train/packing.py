"""All questions about an image in one sequence: the visual prefix once, then question after question.

A question sees the prefix and itself, and its positions go on where the prefix ends, so it gets what it would get
alone. For ten questions of twelve tokens after 64 visual ones that is 190 tokens instead of 760.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from offline.train.llava_model import PROMPT
from thinwire.prompt import IMAGE, Prompt

IGNORED = -100


class Segments:
    """Token ids of the prompt's parts, as the cloud makes them; every text is tokenised once.

    Args:
        tokenizer: the model's.
        prompt: holds "<image>" once, and "{question}" once after it.

    Raises:
        BundleError: the prompt does not suit the tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, prompt: str = PROMPT) -> None:
        self._prompt = Prompt(prompt, tokenizer, tokenizer.convert_tokens_to_ids(IMAGE))
        self._tokenizer = tokenizer
        self._questions: dict[str, list[int]] = {}
        self._answers: dict[str, list[int]] = {}
        self.before = self._prompt.before

    def question(self, text: str) -> list[int]:
        """What follows the image, up to where the answer begins."""
        if text not in self._questions:
            self._questions[text] = self._prompt.after(text)
        return self._questions[text]

    def answer(self, text: str) -> list[int]:
        """The answer and the end of the sequence."""
        if text not in self._answers:
            ids = self._tokenizer.encode(text, add_special_tokens=False)
            self._answers[text] = [*ids, int(self._tokenizer.eos_token_id)]
        return self._answers[text]


@dataclass(frozen=True)
class Packed:
    """The questions of a batch of images, each image's in one row.

    Attributes:
        ids: a ``batch x length`` tensor of int64.
        positions: counted from the end of the prefix, of the same shape.
        groups: the question's number within its row, -1 for padding, of the same shape.
        targets: the token that is to follow, `IGNORED` outside of answers, of the same shape.
    """

    ids: Tensor
    positions: Tensor
    groups: Tensor
    targets: Tensor


def pack(rows: Sequence[Sequence[tuple[str, str]]], segments: Segments) -> Packed:
    """Lay out questions and answers.

    Args:
        rows: for each image, its (question, answer) pairs.
        segments: tokenises them.
    """
    tokenised = [[(segments.question(question), segments.answer(answer)) for question, answer in row] for row in rows]
    length = max(sum(len(q) + len(a) - 1 for q, a in row) for row in tokenised)
    ids, positions = (np.zeros((len(rows), length), dtype=np.int64) for _ in range(2))
    groups = np.full((len(rows), length), -1, dtype=np.int64)
    targets = np.full((len(rows), length), IGNORED, dtype=np.int64)
    for row, questions in enumerate(tokenised):
        start = 0
        for number, (question, answer) in enumerate(questions):
            # The end itself is never read, only predicted.
            end = start + len(question) + len(answer) - 1
            ids[row, start:end] = question + answer[:-1]
            positions[row, start:end] = np.arange(end - start)
            groups[row, start:end] = number
            targets[row, start + len(question) - 1 : end] = answer
            start = end
    return Packed(*(torch.from_numpy(one) for one in (ids, positions, groups, targets)))


def answer_logits(
    model: LlavaForConditionalGeneration, visual: Tensor, before: Sequence[int], packed: Packed
) -> tuple[Tensor, Tensor]:
    """What the model says at every token of every answer.

    Args:
        model: its language model and head are used.
        visual: projected visual tokens, ``batch x tokens x width``, as many for each image.
        before: ids of the prompt up to the image.
        packed: the questions.

    Returns:
        logits ``n x vocabulary`` and the ``n`` true tokens, row by row.
    """
    device, batch = visual.device, len(visual)
    embed = model.get_input_embeddings()
    head = embed(torch.tensor(list(before), device=device)).expand(batch, -1, -1)
    inputs = torch.cat((head, visual, embed(packed.ids.to(device))), dim=1)
    prefix, length = head.shape[1] + visual.shape[1], inputs.shape[1]
    # The prefix is a group that all others see.
    groups = torch.cat((packed.groups.new_full((batch, prefix), -2), packed.groups), dim=1).to(device)
    positions = torch.cat((torch.arange(prefix).expand(batch, -1), packed.positions + prefix), dim=1).to(device)
    order = torch.arange(length, device=device)
    seen = (groups[:, :, None] == groups[:, None, :]) | (order < prefix)
    seen &= order <= order[:, None]
    mask = inputs.new_zeros(seen.shape).masked_fill_(~seen, torch.finfo(inputs.dtype).min)
    output = model.model.language_model(
        inputs_embeds=inputs, attention_mask=mask[:, None], position_ids=positions, use_cache=False
    )
    wanted = packed.targets.to(device) != IGNORED
    logits = model.lm_head(output.last_hidden_state[:, prefix:][wanted])
    return logits, packed.targets.to(device)[wanted]


def all_right(logits: Tensor, packed: Packed) -> Tensor:
    """Whether greedy decoding gives each answer exactly, the end included.

    Greedy decoding follows the true answer as long as each of its tokens is the likeliest after those before it; so no
    token needs to be generated.

    Returns:
        a tensor of bool, question by question, row by row.
    """
    wanted = packed.targets != IGNORED
    right = logits.argmax(-1).cpu() == packed.targets[wanted]
    rows = torch.arange(len(packed.ids))[:, None].expand_as(packed.groups)
    most = int(packed.groups.max()) + 1
    question = (rows * most + packed.groups)[wanted]
    wrong = torch.bincount(question, weights=(~right).double(), minlength=len(packed.ids) * most)
    asked = torch.bincount(question, minlength=len(packed.ids) * most) > 0
    return wrong[asked] == 0
