"""Against `transformers`' own generation, one question at a time."""

import collections
import itertools
import threading

import pytest
import scipy.stats
import torch

from cloud.answerer import Answer, Question
from cloud.language.prefix import VisualPrefix
from tests.llava import CONTEXT, PATCHES, SIZE, WIDTH, make_language, make_llava, make_tokenizer
from thinwire.errors import InvalidFrameError, InvalidRequestError, ThinwireError, UnavailableError
from thinwire.generation import Generation

QUESTIONS = [
    "what colour is the circle?",
    "which shape?",
    "is the square red?",
    "yes",
    "a picture of two what in the picture of a red green blue circle square?",
    "no no no?",
    "what is zzz?",
    "the green circle is what in the picture?",
]


@pytest.fixture(name="language", scope="module")
def language_fixture():
    return make_language()


def tokens_of(counts, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [2 * torch.randn(count, WIDTH, generator=generator) for count in counts]


@torch.inference_mode()
def reference(language, tokens, question, **options):
    """What `generate` writes after the same embeddings; the tokenizer sees the whole prompt at once."""
    model, tokenizer = language.model, language.tokenizer
    text = "USER: " + "<image>" * len(tokens) + f"\n{question} ASSISTANT:"
    ids = torch.tensor([tokenizer(text).input_ids])
    embeddings = model.get_input_embeddings()(ids)
    embeddings[ids == model.config.image_token_id] = model.model.multi_modal_projector(tokens)
    options = {"max_new_tokens": 12, "do_sample": False} | options
    return model.generate(inputs_embeds=embeddings, **options)[0].tolist(), ids.shape[1]


def decoded(language, ids):
    return language.tokenizer.decode(ids, skip_special_tokens=True).strip()


def test_different_frames_and_questions_in_one_batch_are_answered_as_each_alone_by_transformers(language):
    tokens = tokens_of([1, 16, 3, 9, 2, 12, 5, 7])
    prefixes = language.view_tokens(tokens)
    limits = [12, 1, 9, 12, 5, 12, 12, 3]
    questions = [
        Question(prefix, text, Generation(limit))
        for prefix, text, limit in zip(prefixes, QUESTIONS, limits, strict=True)
    ]
    together = language.answer(questions)
    for one, text, limit, answer in zip(tokens, QUESTIONS, limits, together, strict=True):
        ids, prompt_tokens = reference(language, one, text, max_new_tokens=limit)
        assert answer.text == decoded(language, ids)
        assert answer.tokens == len(ids)
        assert answer.prompt_tokens == prompt_tokens
        assert answer.finish_reason == ("stop" if ids[-1] == 2 else "length")
    assert len({answer.text for answer in together}) > 4
    backwards = language.answer(questions[::-1])[::-1]
    for question, first, second in zip(questions, together, backwards, strict=True):
        (alone,) = language.answer([Question(question.prefix, question.text, question.generation)])
        assert alone.text == first.text == second.text
        assert [first.score, second.score] == pytest.approx([alone.score] * 2, rel=1e-4)


def test_prefixes_computed_together_are_those_computed_alone(language):
    tokens = tokens_of([4, 16, 1])
    together = language.view_tokens(tokens)
    for one, prefix in zip(tokens, together, strict=True):
        (alone,) = language.view_tokens([one])
        assert prefix.length == alone.length == len(language.prompt.before) + len(one)
        assert prefix.nbytes == alone.nbytes == 2 * 2 * WIDTH * prefix.length * 4
        for layer, other in zip(prefix.layers, alone.layers, strict=True):
            torch.testing.assert_close(layer, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "options", [{}, {"vision_feature_layer": -1}, {"vision_feature_select_strategy": "full"}], ids=repr
)
def test_plain_images_are_answered_as_by_transformers(options):
    tokenizer = make_tokenizer()
    language = make_language(1, **options)
    pixels = torch.randn(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3))
    prefixes = language.view_pixels(pixels)
    answers = language.answer([Question(prefix, QUESTIONS[0], Generation(10)) for prefix in prefixes])
    seen = PATCHES + (1 if "vision_feature_select_strategy" in options else 0)
    ids = tokenizer("USER: " + "<image>" * seen + f"\n{QUESTIONS[0]} ASSISTANT:", return_tensors="pt").input_ids
    for image, answer in zip(pixels, answers, strict=True):
        written = language.model.generate(input_ids=ids, pixel_values=image[None], max_new_tokens=10, do_sample=False)[
            0, ids.shape[1] :
        ]
        assert answer.text == decoded(language, written.tolist())


def test_the_score_is_the_geometric_mean_of_the_probabilities(language):
    (tokens,) = tokens_of([6])
    (answer,) = language.answer([Question(language.view_tokens([tokens])[0], "what?", Generation(8))])
    ids, _ = reference(language, tokens, "what?", max_new_tokens=8)
    text = language.tokenizer("USER: " + "<image>" * 6 + "\nwhat? ASSISTANT:").input_ids
    everything = torch.tensor([text + ids])
    with torch.inference_mode():
        embeddings = language.model.get_input_embeddings()(everything)
        embeddings[everything == 4] = language.model.model.multi_modal_projector(tokens)
        logits = language.model(inputs_embeds=embeddings).logits[0, len(text) - 1 : -1]
    each = logits.log_softmax(-1)[range(len(ids)), ids]
    assert answer.score == pytest.approx(float(each.mean().exp()), rel=1e-4)


def test_an_answer_that_ends_at_once_is_empty_and_has_a_score(language, monkeypatch):
    monkeypatch.setattr(language, "_ends", frozenset(range(26)))
    (prefix,) = language.view_tokens(tokens_of([3]))
    (answer,) = language.answer([Question(prefix, "what?")])
    assert (answer.text, answer.tokens, answer.finish_reason) == ("", 1, "stop")
    assert 0 < answer.score < 1


class Passes:
    """Counts the language model's forward passes, and the rows and tokens in them."""

    def __init__(self, language):
        self.shapes = []
        self._hook = language.model.model.language_model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module, arguments, options):
        self.shapes.append(tuple(options["inputs_embeds"].shape[:2]))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._hook.remove()


def test_the_prefix_is_computed_once_for_twenty_questions(language):
    with Passes(language) as passes:
        (prefix,) = language.view_tokens(tokens_of([PATCHES]))
        before = [(keys.clone(), values.clone()) for keys, values in prefix.layers]
        answers = [language.answer([Question(prefix, f"what {'a ' * n}?", Generation(1))])[0] for n in range(10)]
        answers += language.answer([Question(prefix, f"which {'a ' * n}?", Generation(1)) for n in range(10)])
    assert all(isinstance(answer, Answer) for answer in answers)
    # Only the first pass has the visual tokens in it.
    asked = [len(language.prompt.after(f"what {'a ' * n}?")) for n in range(10)]
    assert passes.shapes == [(1, prefix.length), *((1, count) for count in asked), (10, max(asked))]
    for layer, other in zip(prefix.layers, before, strict=True):
        assert all(torch.equal(*pair) for pair in zip(layer, other, strict=True))


def test_an_answer_that_ended_leaves_the_batch(language):
    (prefix,) = language.view_tokens(tokens_of([5]))
    with Passes(language) as passes:
        language.answer([Question(prefix, "what?", Generation(limit)) for limit in (1, 3, 2)])
    assert [rows for rows, _ in passes.shapes] == [3, 2, 1]


def test_the_same_seed_gives_the_same_answer_in_whatever_batch(language):
    prefixes = language.view_tokens(tokens_of([2, 7, 16, 4]))
    drawn = Generation(12, temperature=1.5, top_p=0.95, seed=7)
    (alone,) = language.answer([Question(prefixes[1], "what?", drawn)])
    company = [
        Question(prefixes[0], "which shape is the circle in?", Generation(3, temperature=2.0, seed=7)),
        Question(prefixes[1], "what?", drawn),
        Question(prefixes[2], "yes", Generation(12)),
        Question(prefixes[3], "what?", Generation(12, temperature=1.5, top_p=0.95, seed=8)),
    ]
    assert language.answer(company)[1].text == language.answer(company[::-1])[2].text == alone.text
    others = {
        language.answer([Question(prefixes[1], "what?", Generation(12, 1.5, 0.95, seed))])[0].text for seed in range(9)
    }
    assert len(others) > 5


def test_first_tokens_are_drawn_as_often_as_the_softmax_says(language):
    (prefix,) = language.view_tokens(tokens_of([8]))
    (tokens,) = tokens_of([8])
    text = language.tokenizer("USER: " + "<image>" * 8 + "\nwhat? ASSISTANT:").input_ids
    with torch.inference_mode():
        embeddings = language.model.get_input_embeddings()(torch.tensor([text]))
        embeddings[torch.tensor([text]) == 4] = language.model.model.multi_modal_projector(tokens)
        logits = language.model(inputs_embeds=embeddings).logits[0, -1]
    probabilities = (logits.double() / 1.7).softmax(-1)
    # By the text that they become: all special tokens are "".
    expected = collections.Counter()
    for index, probability in enumerate(probabilities.tolist()):
        expected[language.tokenizer.decode([index], skip_special_tokens=True)] += 2000 * probability
    observed = collections.Counter()
    for start in range(0, 2000, 250):
        batch = [Question(prefix, "what?", Generation(1, 1.7, 1.0, seed)) for seed in range(start, start + 250)]
        observed.update(answer.text for answer in language.answer(batch))
    # What is too rare for the approximation is one class.
    common = [text for text, count in expected.items() if count >= 5]
    classes = [(observed[text], expected[text]) for text in common]
    rest = (2000 - sum(seen for seen, _ in classes), 2000 - sum(theory for _, theory in classes))
    statistic = sum((seen - theory) ** 2 / theory for seen, theory in [*classes, rest] if theory >= 1)
    assert len(common) > 5
    assert statistic < scipy.stats.chi2.ppf(0.999, len(common))


def test_numbers_that_are_not_finite_are_an_error_of_their_row_alone(language):
    (sound, spoilt) = tokens_of([4, 4])
    spoilt[2] = torch.nan
    good, bad = language.view_tokens([sound, spoilt])
    assert isinstance(bad, InvalidFrameError)
    # As if the language model itself broke.
    broken = VisualPrefix(tuple((keys * torch.nan, values) for keys, values in good.layers))
    drawn = Generation(4, temperature=1.0, seed=0)
    answers = language.answer(
        [Question(good, "what?"), Question(broken, "what?"), Question(broken, "what?", drawn), Question(good, "yes?")]
    )
    assert [isinstance(answer, Answer) for answer in answers] == [True, False, False, True]
    assert all(isinstance(answer, ThinwireError) and "no finite answer" in str(answer) for answer in answers[1:3])


def test_a_question_that_is_given_up_leaves_the_others(language):
    (prefix,) = language.view_tokens(tokens_of([4]))
    never_ends = language._ends
    language._ends = frozenset()
    leaver = Question(prefix, "what?", Generation(100))
    leaver.on_text = lambda text: leaver.given_up.set() if text.count(" ") >= 2 else None
    stayer = Question(prefix, "which?", Generation(10))
    with Passes(language) as passes:
        gone, answer = language.answer([leaver, stayer])
    (alone,) = language.answer([stayer])
    language._ends = never_ends
    assert isinstance(gone, UnavailableError)
    assert answer.text == alone.text
    assert len(passes.shapes) == 10
    assert passes.shapes[-1][0] == 1


def test_the_text_is_told_as_it_grows(language):
    (prefix,) = language.view_tokens(tokens_of([4]))
    told = []
    (answer,) = language.answer([Question(prefix, "what?", Generation(9), threading.Event(), told.append)])
    assert told[-1] == answer.text
    assert all(after.startswith(before) and after != before for before, after in itertools.pairwise(told))
    assert len(told) > 3


@pytest.mark.parametrize("word", ["<image>", "</s>"])
def test_special_tokens_in_a_question_are_refused(language, word):
    (prefix,) = language.view_tokens(tokens_of([4]))
    refused, answer = language.answer([Question(prefix, f"what is {word}?"), Question(prefix, "what?")])
    assert isinstance(refused, InvalidRequestError)
    assert "text of a special token" in str(refused)
    assert isinstance(answer, Answer)


def test_a_question_too_long_for_the_context_is_refused(language):
    (prefix,) = language.view_tokens(tokens_of([4]))
    overhead = prefix.length + len(language.prompt.after(""))
    fits, too_long = (Question(prefix, "a " * (CONTEXT - overhead - 5 + more), Generation(5)) for more in (0, 1))
    answer, refused = language.answer([fits, too_long])
    assert isinstance(answer, Answer)
    assert isinstance(refused, InvalidRequestError)
    assert str(CONTEXT) in str(refused)


def test_several_ends(language):
    model = make_llava(make_tokenizer())
    model.generation_config.eos_token_id = [2, 9]
    assert type(language)(model, make_tokenizer(), "<image>{question}")._ends == {2, 9}
