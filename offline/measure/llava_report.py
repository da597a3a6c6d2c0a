"""How often a LLaVA answers exactly right, by kind of question, beside what it says without seeing the image."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from offline.data.question_texts import kind_of
from offline.data.questioned import QuestionedImages
from offline.train.packing import Segments, all_right, answer_logits, pack
from thinwire.images import Preprocessing, normalise


@dataclass(frozen=True)
class PlainAnswers:
    """Accuracies in [0, 1], by exact answer.

    Attributes:
        accuracy: of the plain model.
        by_kind: of the plain model, for each kind of question.
        another: with the visual tokens of another image.
        blank: with every visual token the mean of all.
        question_only: of the answer that is most frequent for the question's text in the train split.
        questions: how many.
    """

    accuracy: float
    by_kind: dict[str, float]
    another: float
    blank: float
    question_only: float
    questions: int


@torch.inference_mode()
def visual_tokens(
    model: LlavaForConditionalGeneration, pixels: NDArray[np.uint8], preprocessing: Preprocessing, batch: int = 128
) -> Tensor:
    """The tower's tokens before the projector: an ``n x patches x width`` tensor of float32 on the CPU."""
    return torch.cat(
        [
            tower_tokens(model, torch.from_numpy(normalise(pixels[start : start + batch], preprocessing))).cpu()
            for start in range(0, len(pixels), batch)
        ]
    )


def tower_tokens(model: LlavaForConditionalGeneration, images: Tensor) -> Tensor:
    """The hidden states of the feature layer, the class token dropped.

    Args:
        model: its tower is used.
        images: normalised, ``batch x 3 x height x width``.
    """
    output = model.model.vision_tower(images.to(model.device), output_hidden_states=True)
    tokens: Tensor = output.hidden_states[model.config.vision_feature_layer][:, 1:]
    return tokens


@torch.inference_mode()
def right_answers(
    model: LlavaForConditionalGeneration,
    segments: Segments,
    tokens: Tensor,
    rows: Sequence[Sequence[tuple[str, str]]],
    batch: int = 64,
) -> NDArray[np.bool_]:
    """Whether greedy decoding gives each answer exactly.

    Args:
        model: in evaluation mode.
        segments: tokenises the questions.
        tokens: visual tokens before the projector, ``n x tokens x width``.
        rows: for each of the ``n`` images, its (question, answer) pairs.

    Returns:
        an array over all questions, image by image.
    """
    right = []
    for start in range(0, len(rows), batch):
        packed = pack(rows[start : start + batch], segments)
        visual = model.model.multi_modal_projector(tokens[start : start + batch].to(model.device))
        logits, _ = answer_logits(model, visual, segments.before, packed)
        right.append(all_right(logits, packed).numpy())
    return np.concatenate(right)


def question_only(train: QuestionedImages, asked: QuestionedImages) -> float:
    """Accuracy of the answer that is most frequent in ``train`` for each question's text."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for question, answer in zip(train.questions, train.answers, strict=True):
        counts[question][answer] += 1
    anything = Counter(train.answers).most_common(1)[0][0]
    best = {question: counter.most_common(1)[0][0] for question, counter in counts.items()}
    right = [best.get(q, anything) == a for q, a in zip(asked.questions, asked.answers, strict=True)]
    return float(np.mean(right))


def report(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    preprocessing: Preprocessing,
    train: QuestionedImages,
    asked: QuestionedImages,
) -> PlainAnswers:
    """Measure a model.

    Args:
        model: in evaluation mode.
        tokenizer: the model's.
        preprocessing: of the model's input.
        train: gives the answers of ``question_only``.
        asked: images and questions to measure on, two images at least.
    """
    segments = Segments(tokenizer)
    tokens = visual_tokens(model, asked.pixels, preprocessing)
    rows = asked.rows
    blank = tokens.mean((0, 1)).expand_as(tokens)
    # Half-way round, so that no image meets itself.
    another = tokens.roll(len(tokens) // 2, dims=0)
    right, right_another, right_blank = (right_answers(model, segments, one, rows) for one in (tokens, another, blank))
    kinds = np.array([kind_of(question) for question in asked.questions])
    return PlainAnswers(
        accuracy=float(right.mean()),
        by_kind={str(kind): float(right[kinds == kind].mean()) for kind in np.unique(kinds)},
        another=float(right_another.mean()),
        blank=float(right_blank.mean()),
        question_only=question_only(train, asked),
        questions=len(right),
    )
