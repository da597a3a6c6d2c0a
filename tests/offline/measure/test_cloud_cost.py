"""The cloud's compute against torch's own counter of what ran, and a classifier's against a count by hand."""

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cloud.answerer import Question
from cloud.language.model import LanguageModel
from cloud.language.prefix import compute_prefixes
from offline.measure.cloud_cost import LanguageCost, classifier_gmacs, decoder_gmacs
from tests.llava import PROMPT, WIDTH, make_decoder, make_llava, make_tokenizer
from tests.parts import make_classifier
from thinwire.equalise import ReceivedTokens
from thinwire.generation import Generation
from thinwire.nn.codec.decoder import decode_frames


def counted(call):
    # In the plain form, whose products between tokens are matrix products that the counter sees.
    with FlopCounterMode(display=False) as counter, torch.inference_mode(), sdpa_kernel(SDPBackend.MATH):
        call()
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize("tokens", [1, 7, 16])
def test_the_prefill_counts_what_runs(tokens):
    tokenizer = make_tokenizer()
    model = make_llava(tokenizer)
    before = [1, 5, 6]
    visual = torch.zeros(tokens, WIDTH)

    def prefix():
        return compute_prefixes(model, before, [model.model.multi_modal_projector(visual)])

    cost = LanguageCost(model, len(before))
    # The angles of the positions are computed as a product of matrices, which is no product of the model's.
    angles = counted(lambda: model.model.language_model.rotary_emb(visual, torch.arange(3 + tokens)[None]))
    assert cost.prefix_gmacs(np.array([tokens])) == pytest.approx([counted(prefix) - angles])


def test_a_question_counts_what_runs():
    tokenizer = make_tokenizer()
    model = make_llava(tokenizer)
    language = LanguageModel(model, tokenizer, PROMPT)
    text = "what colour is the circle ?"
    (prefix,) = language.view_tokens([torch.zeros(5, WIDTH)])
    once = Generation(max_new_tokens=1)
    cost, count = LanguageCost(model, len(language.prompt.before)), len(language.prompt.after(text))
    angles = counted(lambda: model.model.language_model.rotary_emb(torch.zeros(1), torch.arange(count)[None]))
    ran = counted(lambda: language.answer([Question(prefix, text, once)])) - angles
    assert cost.question_gmacs(np.array([5]), np.array([count])) == pytest.approx([ran])


@pytest.mark.parametrize("tokens", [1, 5])
def test_the_decoder_counts_what_runs(tokens):
    decoder = make_decoder()
    frame = ReceivedTokens(np.ones((tokens, 4), dtype=np.complex64), 0.1)
    ran = counted(lambda: decode_frames(decoder, [frame], torch.device("cpu")))
    assert decoder_gmacs(decoder, np.array([tokens, tokens])) == pytest.approx([ran, ran])


@pytest.mark.parametrize("split_layer", [0, 1, 3])
def test_decoder_layers_and_head_of_a_classifier_are_counted(split_layer):
    classifier = make_classifier(split_layer, class_token=False, global_pool="avg")
    width, hidden, symbols = 24, 32, 8

    def by_hand(n):
        decoder = (2 * symbols + 2) * hidden + hidden * 3 * hidden + hidden * hidden + 2 * hidden * 2 * hidden
        decoder = n * (decoder + hidden * width + hidden) + 2 * n * n * hidden
        gate = 2 * 32 + 32 * hidden
        layer = n * (width * 3 * width + width * width + 2 * width * 4 * width) + 2 * n * n * width
        return decoder + gate + (3 - split_layer) * layer + width * 7

    counts = np.array([5, 1, 25, 5])
    np.testing.assert_allclose(classifier_gmacs(classifier, counts) * 1e9, [by_hand(n) for n in counts])
