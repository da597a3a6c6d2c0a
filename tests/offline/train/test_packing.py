"""Questions in one sequence: each gets what it gets alone, by transformers' own forward pass and generation."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from offline.data.drawings import draw
from offline.data.question_texts import words
from offline.measure.llava_report import right_answers, visual_tokens
from offline.train.llava_model import PROMPT, build_llava, build_tokenizer
from offline.train.packing import IGNORED, Segments, all_right, answer_logits, pack
from thinwire.images import Preprocessing, normalise

PREPROCESSING = Preprocessing(64, 1.0, "bicubic", (0.5,) * 3, (0.5,) * 3)
SPEC = {
    "vision": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
    },
    "text": {
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    },
    "feature_layer": -2,
}
ROWS = [
    [
        ("is there a circle?", "yes"),
        ("what is in the image?", "red circle and blue triangle"),
        ("is there a zebra?", "no"),
    ],
    [("how many shapes are there?", "three")],
]


@pytest.fixture(name="tokenizer", scope="module")
def tokenizer_fixture():
    return build_tokenizer(words())


@pytest.fixture(name="model", scope="module")
def model_fixture(tokenizer):
    torch.manual_seed(0)
    model = build_llava(SPEC, tokenizer).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.fixture(name="pixels", scope="module")
def pixels_fixture():
    return np.stack([draw(0, index).pixels for index in range(2)])


def test_a_question_in_a_row_gets_what_it_gets_alone(model, tokenizer, pixels):
    segments = Segments(tokenizer)
    tokens = visual_tokens(model, pixels, PREPROCESSING)
    packed = pack(ROWS, segments)
    with torch.inference_mode():
        logits, targets = answer_logits(model, model.model.multi_modal_projector(tokens), segments.before, packed)
    losses = F.cross_entropy(logits, targets, reduction="none")
    start = 0
    for image, row in zip(normalise(pixels, PREPROCESSING), ROWS, strict=True):
        for question, answer in row:
            # The whole text at once, through transformers' own forward pass with the image's placeholders.
            text = PROMPT.format(question=question).replace("<image>", "<image>" * 16) + f" {answer}</s>"
            ids = torch.tensor([tokenizer.encode(text)])
            length = len(answer.split()) + 1
            labels = ids.clone()
            labels[:, :-length] = IGNORED
            with torch.inference_mode():
                alone = model(input_ids=ids, pixel_values=torch.from_numpy(image)[None], labels=labels).loss
            torch.testing.assert_close(losses[start : start + length].mean(), alone, rtol=1e-5, atol=1e-5)
            start += length
    assert start == len(losses)


def test_right_answers_are_those_that_generation_gives(model, tokenizer, pixels):
    tokens = visual_tokens(model, pixels, PREPROCESSING)
    images = torch.from_numpy(normalise(pixels, PREPROCESSING))
    rows, expected = [], []
    for image in images:
        row = []
        for question in ("is there a circle?", "what is in the image?", "what shape is present?"):
            ids = tokenizer(PROMPT.format(question=question).replace("<image>", "<image>" * 16), return_tensors="pt")
            with torch.inference_mode():
                whole = model.generate(**ids, pixel_values=image[None], max_new_tokens=6, do_sample=False)
            said = whole[0, ids.input_ids.shape[1] :]
            ended = bool((said == tokenizer.eos_token_id).any())
            text = tokenizer.decode(said, skip_special_tokens=True)
            # What it said, a longer and another answer.
            row += [(question, text), (question, f"{text} and"), (question, "teal" if text != "teal" else "red")]
            expected += [ended and "<unk>" not in tokenizer.decode(said), False, False]
        rows.append(row)
    assert right_answers(model, Segments(tokenizer), tokens, rows).tolist() == expected


def test_a_model_made_to_answer_is_right(model, tokenizer, pixels):
    segments = Segments(tokenizer)
    packed = pack(ROWS, segments)
    wanted = packed.targets[packed.targets != IGNORED]
    logits = F.one_hot(wanted, len(tokenizer)).float()
    assert all_right(logits, packed).tolist() == [True] * 4
    # The second question's answer has six tokens after the first one's two: any of them spoils it, and it only.
    for index in range(2, 8):
        spoilt = logits.clone()
        spoilt[index, (wanted[index] + 1) % len(tokenizer)] = 2
        assert all_right(spoilt, packed).tolist() == [True, False, True, True]


def test_segments_join_to_the_prompt(tokenizer):
    segments = Segments(tokenizer)
    joined = [
        *segments.before,
        tokenizer.convert_tokens_to_ids("<image>"),
        *segments.question("is there a red circle?"),
    ]
    assert joined == tokenizer.encode(PROMPT.format(question="Is there a RED circle?"))
    assert tokenizer.decode(segments.answer("red circle and blue triangle"), skip_special_tokens=True) == (
        "red circle and blue triangle"
    )
    assert tokenizer.unk_token_id in segments.question("is there a zebra?")
    assert tokenizer.unk_token_id not in segments.question("is there a circle?")
