"""Transcripts of received tokens, against transformers' own of the same features."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

from cloud.speech.model import Clip, SpeechModel
from cloud.transcriber import Transcript
from tests.speech import POSITIONS, make_features, make_speech
from thinwire.errors import InvalidFrameError, InvalidRequestError, ThinwireError, UnavailableError
from thinwire.transcription import TranscriptionOptions

PLAIN = TranscriptionOptions(temperatures=(0.0,), no_speech_threshold=None, max_new_tokens=12)
LANGUAGES = ("en", "de", "fr")


@pytest.fixture(name="speech", scope="module")
def speech_fixture():
    return SpeechModel(*make_speech())


@pytest.fixture(name="polyglot", scope="module")
def polyglot_fixture():
    return SpeechModel(*make_speech(LANGUAGES))


@pytest.fixture(name="untimed", scope="module")
def untimed_fixture():
    """A model that says no timestamps of its own accord, so that its one segment has all that it said."""
    model, tokenizer = make_speech()
    model.generation_config.suppress_tokens = list(range(tokenizer.get_vocab()["<|0.00|>"], len(tokenizer)))
    return SpeechModel(model, tokenizer)


def clips_of(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, 32, generator=generator) for length in lengths]


def only(speech, clip):
    (found,) = speech.transcribe([clip])
    if isinstance(found, ThinwireError):
        raise found
    return found


def same(one, other):
    assert replace(one, avg_logprob=0, no_speech_prob=0) == replace(other, avg_logprob=0, no_speech_prob=0)
    assert one.avg_logprob == pytest.approx(other.avg_logprob, abs=1e-4)
    assert one.no_speech_prob == pytest.approx(other.no_speech_prob, rel=1e-3)


ASKED = {
    "greedy": {},
    "timestamps": {"timestamps": True},
    "beams": {"beams": 3},
    "beams and timestamps": {"beams": 3, "timestamps": True},
    "prompt": {"prompt": " one two one "},
    "language": {"language": "German"},
    "translation": {"language": "fr", "task": "translate", "timestamps": True},
}


@pytest.mark.parametrize(
    ("kind", "asked_for"),
    [("english", name) for name, changes in ASKED.items() if "language" not in changes]
    + [("polyglot", name) for name in ASKED],
)
def test_the_transcripts_are_those_of_transformers(kind, asked_for, speech, polyglot):
    ours, changes = speech if kind == "english" else polyglot, ASKED[asked_for]
    model, tokenizer = ours.model, ours.tokenizer
    features = make_features(5)
    # Louder, so that the clips are told apart.
    features = features * torch.linspace(-6, 6, 5)[:, None, None]
    hidden = model.model.encoder(features).last_hidden_state.detach()
    asked = replace(PLAIN, **changes)
    theirs = {"return_timestamps": asked.timestamps, "num_beams": asked.beams, "max_new_tokens": 12}
    if kind == "polyglot":
        theirs |= {"language": asked.language, "task": asked.task}
    if asked.prompt:
        theirs["prompt_ids"] = torch.tensor(tokenizer.get_prompt_ids(asked.prompt))
    # Otherwise it hears again what stands behind the last timestamp.
    sequences = model.generate(features, force_unique_generate_call=True, **theirs)
    found = ours.transcribe([Clip(one, options=asked) for one in hidden])
    assert len({one.text for one in found}) > 2
    written = [row[row.index(ours.vocabulary.start) + 1 :] for row in sequences.tolist()]
    for one, row in zip(found, written, strict=True):
        assert one.text == tokenizer.decode([token for token in row if token < ours.vocabulary.end]).strip()
        if asked.timestamps:
            special = (ours.vocabulary.end, ours.vocabulary.first_timestamp)
            said = [token for token in row if not special[0] <= token < special[1]]
            # Where nothing is said between two timestamps is no segment.
            ours_said = [token for segment in one.segments for token in segment.tokens]
            assert ours_said == said or len(ours_said) < len(said)
    if kind == "polyglot" and asked.language is None:
        detected = model.detect_language(features).tolist()
        assert [ours.vocabulary.languages[TO_LANGUAGE_CODE[one.language]] for one in found] == detected


MIXED = [
    {},
    {"timestamps": True},
    {"temperatures": (0.7,), "seed": 3},
    {"temperatures": (1.0,), "seed": 4, "timestamps": True},
    {"beams": 2},
    {"prompt": "two"},
    {"temperatures": (0.0, 0.5, 1.0), "logprob_threshold": -0.5, "seed": 5},
    {"max_new_tokens": 3},
]


def test_clips_of_a_batch_get_what_they_would_get_alone(polyglot):
    lengths = [1, 50, 7, 23, 12, 31, 2, 17]
    clips = [
        Clip(tokens, options=replace(PLAIN, **changes))
        for tokens, changes in zip(clips_of(lengths), MIXED, strict=True)
    ]
    together = polyglot.transcribe(clips)
    for clip, one in zip(clips, together, strict=True):
        same(one, only(polyglot, clip))
    assert len({one.text for one in together}) >= len(clips) - 1
    assert together[6].temperature == 1.0
    assert (together[7].tokens, together[7].finish_reason) == (3, "length")


def test_padding_changes_nothing(speech):
    # All of one kind, so that they are padded, and the longest one's values are what stands beside the others.
    clips = [Clip(tokens, options=PLAIN) for tokens in clips_of([3, 11, 29, 40])]
    together = speech.transcribe(clips)
    for clip, one in zip(clips, together, strict=True):
        same(one, only(speech, clip))
    other = speech.transcribe([*clips[:3], Clip(100 * clips[3].tokens, options=PLAIN)])
    for one, two in zip(together[:3], other[:3], strict=True):
        same(one, two)


@pytest.mark.parametrize("beams", [1, 2])
def test_a_size_stands_for_as_many_tokens(speech, beams):
    sized = SpeechModel(speech.model, speech.tokenizer, sizes_in_logits=True)
    clips = clips_of([5, 9, 14], seed=1)
    sizes = [torch.arange(1, len(clip) + 1) % 4 + 1 for clip in clips]
    asked = replace(PLAIN, beams=beams)
    merged = [Clip(one, size.float(), options=asked) for one, size in zip(clips, sizes, strict=True)]
    repeated = [Clip(one.repeat_interleave(size, 0), options=asked) for one, size in zip(clips, sizes, strict=True)]
    ignored = speech.transcribe(merged)
    for ours, expected, plain in zip(sized.transcribe(merged), speech.transcribe(repeated), ignored, strict=True):
        same(replace(ours, prompt_tokens=0), replace(expected, prompt_tokens=0))
        assert abs(ours.avg_logprob - plain.avg_logprob) > 1e-3
    # Nothing stays on the model.
    assert [one.text for one in speech.transcribe(merged)] == [one.text for one in ignored]


def check_by_hand(speech, tokens, one, is_suppressed):
    """Compare the probabilities of a transcript with those of the model, given all of it at once."""
    generation, begin = speech.model.generation_config, speech.vocabulary.begin(PLAIN, None)
    said = one.segments[0].tokens
    assert len(said) == one.tokens - (one.finish_reason == "stop")
    ids = torch.tensor([[*begin, *said]])
    logits = speech.model(encoder_outputs=(tokens[None],), decoder_input_ids=ids).logits[0].detach().double()
    assert one.no_speech_prob == pytest.approx(float(logits[0].softmax(-1)[speech.vocabulary.no_speech]), rel=1e-4)
    logits = logits[len(begin) - 1 :]
    if is_suppressed:
        logits[:, generation.suppress_tokens] = -math.inf
        logits[0, generation.begin_suppress_tokens] = -math.inf
    each = logits.log_softmax(-1).gather(1, torch.tensor([*said, speech.vocabulary.end])[:, None])[:, 0]
    # The end of one that is cut costs nothing.
    total = float(each[: one.tokens].sum())
    assert one.avg_logprob == pytest.approx(total / (len(said) + 1), abs=1e-4)


@pytest.mark.parametrize("changes", [{}, {"temperatures": (0.4,)}, {"beams": 3}], ids=["greedy", "drawn", "beams"])
def test_probabilities_are_those_of_the_model(untimed, changes):
    asked = replace(PLAIN, seed=0, **changes)
    clips = clips_of([8, 6, 29, 3])
    found = untimed.transcribe([Clip(tokens, options=asked) for tokens in clips])
    for tokens, one in zip(clips, found, strict=True):
        check_by_hand(untimed, tokens, one, is_suppressed="beams" not in changes)


def test_a_transcript_that_is_not_good_enough_is_tried_again(speech):
    (tokens,) = clips_of([8])
    hot = replace(PLAIN, temperatures=(0.0, 0.2, 0.9), seed=1)
    for changes in ({"logprob_threshold": 0.0}, {"compression_ratio_threshold": 0.01, "logprob_threshold": None}):
        assert only(speech, Clip(tokens, options=replace(hot, **changes))).temperature == 0.9
    unbounded = replace(hot, logprob_threshold=None, compression_ratio_threshold=None)
    good = only(speech, Clip(tokens, options=unbounded))
    assert good.temperature == 0.0
    edge = replace(unbounded, logprob_threshold=good.avg_logprob + 0.01)
    assert only(speech, Clip(tokens, options=edge)).temperature > 0
    assert only(speech, Clip(tokens, options=replace(edge, logprob_threshold=good.avg_logprob - 0.01))) == good
    edge = replace(unbounded, compression_ratio_threshold=good.compression_ratio - 0.01)
    assert only(speech, Clip(tokens, options=edge)).temperature > 0
    assert only(speech, Clip(tokens, options=replace(edge, compression_ratio_threshold=good.compression_ratio))) == good


def test_silence_is_no_text(speech):
    (tokens,) = clips_of([8])
    asked = TranscriptionOptions(no_speech_threshold=0.0, logprob_threshold=0.0, max_new_tokens=12)
    one = only(speech, Clip(tokens, options=asked))
    assert (one.text, one.segments, one.temperature) == ("", (), 0.0)
    # A likely text is no silence, whatever the model says of speech.
    assert only(speech, Clip(tokens, options=replace(asked, logprob_threshold=-50.0))).text


def test_seeds_decide_what_is_drawn(speech):
    (tokens,) = clips_of([8])
    texts = [
        only(speech, Clip(tokens, options=replace(PLAIN, temperatures=(1.0,), seed=seed))).text for seed in (1, 1, 2, 3)
    ]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3
    cold = replace(PLAIN, temperatures=(1e-6,))
    assert only(speech, Clip(tokens, options=cold)).text == only(speech, Clip(tokens, options=PLAIN)).text


@pytest.mark.parametrize("changes", [{}, {"beams": 2}, {"timestamps": True}, {"temperatures": (0.8,), "seed": 1}])
def test_text_comes_as_it_is_decoded(speech, changes):
    heard = [], []
    clips = [
        Clip(tokens, options=replace(PLAIN, **changes), on_text=told.append)
        for tokens, told in zip(clips_of([8, 20]), heard, strict=True)
    ]
    for one, told in zip(speech.transcribe(clips), heard, strict=True):
        assert told[-1] == one.text
        assert all(after.startswith(before) and after != before for before, after in pairwise(told))
        assert len(told) == 1 if "beams" in changes else len(told) > 1


def test_a_second_try_is_told_from_its_beginning(speech):
    told = []
    (tokens,) = clips_of([8])
    asked = replace(PLAIN, temperatures=(0.0, 1.0), logprob_threshold=0.0, seed=0)
    one = only(speech, Clip(tokens, options=asked, on_text=told.append))
    first = only(speech, Clip(tokens, options=PLAIN))
    assert first.text in told
    assert len(told[told.index(first.text) + 1]) < len(first.text)
    assert told[-1] == one.text != first.text


@pytest.mark.parametrize("beams", [1, 2])
def test_a_clip_that_nobody_waits_for(speech, beams):
    steps = []
    tokens = clips_of([8, 20])
    asked = replace(PLAIN, beams=beams)
    given_up = Clip(tokens[0], options=asked, on_text=lambda text: (steps.append(text), given_up.given_up.set()))
    if beams > 1:
        given_up.given_up.set()
    stopped, one = speech.transcribe([given_up, Clip(tokens[1], options=asked)])
    assert isinstance(stopped, UnavailableError)
    assert len(steps) == 1 or beams > 1
    same(one, only(speech, Clip(tokens[1], options=asked)))


def test_what_is_no_clip_fails_alone(speech):
    (good,) = clips_of([8])
    wrong = [
        (Clip(torch.zeros(0, 32)), InvalidFrameError, r"expected N x 32 tokens of a clip, got \(0, 32\)"),
        (Clip(torch.zeros(3, 31)), InvalidFrameError, r"got \(3, 31\)"),
        (Clip(torch.zeros(32)), InvalidFrameError, r"got \(32,\)"),
        (Clip(good * math.nan), InvalidFrameError, "must be finite"),
        (Clip(good, torch.ones(7)), InvalidFrameError, r"expected 8 sizes above 0, got \(7,\)"),
        (Clip(good, torch.zeros(8)), InvalidFrameError, "expected 8 sizes above 0"),
        (Clip(good, torch.full((8,), math.inf)), InvalidFrameError, "must be finite"),
        (Clip(good, options=replace(PLAIN, language="de")), InvalidRequestError, "English alone"),
        (Clip(good, options=replace(PLAIN, task="translate")), InvalidRequestError, "translates nothing"),
        (Clip(good, options=replace(PLAIN, prompt="a<|endoftext|>b")), InvalidRequestError, "no special tokens"),
        (Clip(good, options=replace(PLAIN, prompt="<|0.50|>")), InvalidRequestError, "no special tokens"),
    ]
    found = speech.transcribe([*(clip for clip, _, _ in wrong), Clip(good, options=PLAIN)])
    for outcome, (_, kind, message) in zip(found, wrong, strict=False):
        with pytest.raises(kind, match=message):
            raise outcome
    same(found[-1], only(speech, Clip(good, options=PLAIN)))
    assert speech.transcribe([]) == []


def test_an_unknown_language_names_those_that_there_are(polyglot):
    (tokens,) = clips_of([8])
    with pytest.raises(InvalidRequestError, match="expected one of de, en, fr as language, got 'klingon'") as caught:
        only(polyglot, Clip(tokens, options=replace(PLAIN, language="klingon")))
    assert caught.value.param == "language"


@pytest.mark.parametrize("beams", [1, 2])
def test_numbers_that_are_not_finite(beams):
    speech = SpeechModel(*make_speech())
    with torch.no_grad():
        speech.model.model.decoder.layer_norm.bias[0] = math.nan
    with pytest.raises(ThinwireError, match="no finite answer"):
        only(speech, Clip(torch.ones(4, 32), options=replace(PLAIN, beams=beams)))


def test_one_that_does_not_end_is_cut_after_what_may_be_said_in_its_time(speech):
    speech.model.generation_config.suppress_tokens = [speech.vocabulary.end]
    asked = replace(PLAIN, max_new_tokens=None, compression_ratio_threshold=None)
    tokens = clips_of([8, 8, 8])
    lengths = (0.5, None, 0.0)
    clips = [Clip(one, options=asked, seconds=seconds) for one, seconds in zip(tokens, lengths, strict=True)]
    found = speech.transcribe(clips)
    # 16, and 10 a second; the window has one.
    assert [one.tokens for one in found] == [21, 26, 16]
    assert {one.finish_reason for one in found} == {"length"}
    for clip, one in zip(clips, found, strict=True):
        same(one, only(speech, clip))


def test_a_long_prompt_leaves_room_for_the_text(speech):
    (tokens,) = clips_of([8])
    asked = replace(PLAIN, prompt="one two " * 200, max_new_tokens=500)
    one = only(speech, Clip(tokens, options=asked))
    # The last 31 of it, its beginning, start and no timestamps; 64 is the most.
    assert one.prompt_tokens == 8 + 34
    assert one.tokens <= 30
    assert only(speech, Clip(tokens, options=replace(asked, prompt="one two " * 100))).text == one.text
    ended = replace(asked, prompt="one two " * 100 + "one")
    assert only(speech, Clip(tokens, options=ended)).text != only(speech, Clip(tokens, options=PLAIN)).text


def test_a_transcript_without_timestamps_is_one_segment(speech):
    (tokens,) = clips_of([8])
    one = only(speech, Clip(tokens, options=PLAIN, seconds=0.7))
    assert [(segment.start, segment.end, segment.text.strip()) for segment in one.segments] == [(0.0, 0.7, one.text)]
    assert only(speech, Clip(tokens, options=PLAIN)).segments[0].end == POSITIONS / 50
    assert isinstance(one, Transcript)
