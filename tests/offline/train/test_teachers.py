"""What the receiver must say again: nothing is lost where nothing changed, and a question weighs like any other."""

import numpy as np
import pytest
import torch

from offline.train.packing import Segments
from offline.train.teachers import AnswerTeacher, LabelTeacher
from tests.llava import PATCHES, PROMPT, WIDTH, make_llava, make_tokenizer
from tests.parts import make_bundle, make_model
from thinwire.nn.head import classify_tokens

ROWS = [
    [("what colour is the circle ?", "red"), ("which shape is the green of a ?", "square")],
    [("what is the colour ?", "no"), ("what shape is the a in the picture ?", "two red circle")],
]


def answer_teacher(questions: int) -> AnswerTeacher:
    tokenizer = make_tokenizer()
    return AnswerTeacher(make_llava(tokenizer), Segments(tokenizer, PROMPT), ROWS, questions)


def tokens(seed: int) -> torch.Tensor:
    return torch.randn(2, PATCHES, WIDTH, generator=torch.Generator().manual_seed(seed))


def divergence(teacher, sent, decoded, images=(0, 1), seed=0):
    share = torch.full(sent.shape[:2], 1 / sent.shape[1])
    return teacher.divergence(sent, share, decoded, share, share > 0, np.array(images), np.random.default_rng(seed))


def test_answers_about_the_same_tokens_do_not_diverge():
    sent = tokens(0)
    teacher = answer_teacher(2)
    assert divergence(teacher, sent, sent).item() == pytest.approx(0, abs=1e-6)
    assert divergence(teacher, sent, tokens(1)).item() > 1e-3


def test_only_what_was_decoded_learns():
    sent, decoded = tokens(0).requires_grad_(), tokens(1).requires_grad_()
    teacher = answer_teacher(1)
    divergence(teacher, sent, decoded).backward()
    assert sent.grad is None
    assert float(decoded.grad.abs().sum()) > 0
    assert all(parameter.grad is None for parameter in teacher._model.parameters())


def test_the_divergence_is_the_mean_over_the_tokens_of_the_answers_one_by_one():
    teacher, sent, decoded = answer_teacher(1), tokens(0), tokens(1)
    found = []
    for image in (0, 1):
        for question in (0, 1):
            one = answer_teacher(1)
            one._rows = [[ROWS[image][question]]] * 2
            length = 1 + len(ROWS[image][question][1].split())
            value = divergence(one, sent[[image]], decoded[[image]], (0,)).item()
            found.append((value * length, length))
    teacher._questions = 2
    together = divergence(teacher, sent, decoded).item()
    assert together == pytest.approx(sum(value for value, _ in found) / sum(length for _, length in found), rel=1e-4)


@pytest.mark.parametrize(("split_layer", "proportional"), [(3, False), (1, False), (1, True)])
def test_a_label_diverges_as_the_closed_form_says(split_layer, proportional):
    model = make_model(make_bundle())
    teacher = LabelTeacher(model, split_layer, proportional)
    generator = torch.Generator().manual_seed(0)
    sent, decoded = (torch.randn(2, 5, teacher.width, generator=generator) for _ in range(2))
    sizes = torch.tensor([[1.0, 2, 3, 4, 15]] * 2)
    weights = torch.full((2, 5), 0.2)
    valid = torch.ones(2, 5, dtype=torch.bool)
    value = teacher.divergence(sent, sizes, decoded, weights, valid, np.arange(2), np.random.default_rng(0))
    true = classify_tokens(model, split_layer, sent, sizes, valid, proportional).double().softmax(-1)
    said = classify_tokens(model, split_layer, decoded, weights, valid, proportional).double().softmax(-1)
    assert value.item() == pytest.approx((true * (true / said).log()).sum(-1).mean().item(), rel=1e-4)


def test_a_model_in_half_precision_teaches_too():
    teacher = answer_teacher(1)
    teacher._model.to(torch.bfloat16)
    decoded = tokens(1).requires_grad_()
    value = divergence(teacher, tokens(0), decoded)
    assert value.dtype == torch.float32
    value.backward()
    assert float(decoded.grad.abs().sum()) > 0
