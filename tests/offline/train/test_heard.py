"""Clips that a pair learns from, and what it is to keep of them."""

import numpy as np
import pytest
import torch

from cloud.speech.memory import Memory
from cloud.speech.model import SpeechModel
from offline.train.heard import ClipRecipe, HeardClip, HeardTokens, hear
from offline.train.transcript_teacher import TranscriptTeacher
from tests.speech import make_speech
from thinwire.audio import log_mel
from thinwire.bundle import Merging
from thinwire.nn.merging.transformer import embed, rules_for, run_layers
from thinwire.nn.towers.whisper_tower import WhisperTower

MERGING = Merging(weight="size", proportional_attention=True, neighbours=3, front=True)
WIDTH = 32


def make_clips(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        HeardClip(
            torch.randn(length, WIDTH, generator=generator).half(),
            torch.randint(1, 9, (length,), generator=generator).float(),
            tuple(range(5, 5 + length % 4)),
        )
        for length in lengths
    ]


def make_audio(generator):
    return generator.normal(0, 0.1, 12_000).astype(np.float32)


def hear_some(folder, seed=0, make=make_audio, **changes):
    model, tokenizer = make_speech()
    recipe = ClipRecipe(**{"count": 5, "unmerged": 0.4, "front": (0.9, 0.999), "thresholds": (0.2, 0.9)} | changes)
    tower = WhisperTower.around(model)
    return hear(tower, SpeechModel(model, tokenizer), MERGING, recipe, make, seed, folder, batch=2), tower


def test_clips_are_what_the_tower_sends_merged_or_not(tmp_path):
    clips, tower = hear_some(tmp_path)
    counts = [len(clip.tokens) for clip in clips]
    assert max(counts) == tower.patches > min(counts)
    for number, clip in enumerate(clips):
        assert clip.sizes.sum() == tower.patches
        assert clip.tokens.dtype == torch.float16
        assert len(clip.text) <= 24
        if len(clip.tokens) == tower.patches:
            audio = make_audio(np.random.default_rng((0, number)))
            features = torch.from_numpy(log_mel(audio, tower.mel_bins, tower.patches))[None]
            with torch.inference_mode():
                tokens, _ = run_layers(tower, embed(tower, features), rules_for([1.0] * 3), MERGING)
            torch.testing.assert_close(clip.tokens.float(), tokens.x[0], atol=2e-2, rtol=1e-2)


def test_what_is_kept_is_not_heard_again(tmp_path, monkeypatch):
    whole, _ = hear_some(tmp_path / "whole")
    cut = tmp_path / "cut"
    embed_once, calls = WhisperTower.embed, []

    def stopped(self, features):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return embed_once(self, features)

    monkeypatch.setattr(WhisperTower, "embed", stopped)
    with pytest.raises(KeyboardInterrupt):
        hear_some(cut)
    resumed, _ = hear_some(cut)
    assert len(calls) == 4 + 3
    again, _ = hear_some(cut)
    assert len(calls) == 4 + 3
    for clips in (resumed, again):
        for one, other in zip(whole, clips, strict=True):
            assert torch.equal(one.tokens, other.tokens)
            assert one.text == other.text
    others = hear_some(cut, seed=1), hear_some(cut, make=lambda generator: make_audio(generator) ** 2)
    for clips, _ in others:
        assert not torch.equal(clips[0].tokens, whole[0].tokens)


def test_every_clip_comes_once_with_others_of_its_length():
    lengths = [10, 300, 12, 280, 11, 310, 9, 12, 290]
    sets = HeardTokens(make_clips(lengths), "size")
    generator = np.random.default_rng(0)
    left = set()
    for _ in range(20):
        steps = list(sets.batches(4, generator))
        assert [len(step) for step in steps] == [4, 4]
        seen = np.concatenate(steps)
        assert len(set(seen.tolist())) == 8
        left |= set(range(9)) - set(seen.tolist())
        for step in steps:
            of = sorted(lengths[item] for item in step)
            assert of[2] < 20 or of[1] > 200
    assert len(left) > 4


def test_what_is_drawn_is_sent_whole_or_merged_as_a_cap_merges():
    clips = make_clips([60, 25])
    sets, generator = HeardTokens(clips, "size"), np.random.default_rng(0)
    counts = []
    for _ in range(40):
        x, sizes, valid, weights = sets.draw(np.array([0, 1]), generator)
        assert (weights > 0).equal(valid)
        for row, clip in enumerate(clips):
            own = valid[row]
            assert float(sizes[row][own].sum()) == float(clip.sizes.sum())
            mean = (x[row][own] * sizes[row][own, None]).sum(0) / sizes[row][own].sum()
            whole = (clip.tokens.float() * clip.sizes[:, None]).sum(0) / clip.sizes.sum()
            torch.testing.assert_close(mean, whole, atol=1e-4, rtol=1e-3)
        counts.append(valid.sum(1).tolist())
        assert x.shape[1] == max(counts[-1])
    first = [one for one, _ in counts]
    assert 8 <= min(first) < 20
    assert 10 < first.count(60) < 30
    assert sets.rows().shape[1] == WIDTH


def test_of_a_long_clip_mostly_a_run_is_drawn():
    (clip,) = clips = make_clips([600])
    sets, generator = HeardTokens(clips, "size"), np.random.default_rng(0)
    lengths = []
    for _ in range(40):
        x, _, valid, _ = sets.draw(np.array([0]), generator)
        lengths.append(int(valid.sum()))
        if lengths[-1] == 512:
            found = (clip.tokens.float()[:, None] == x[0, None, :1]).all(-1).nonzero()[0, 0]
            assert torch.equal(x[0], clip.tokens[found : found + 512].float())
    assert 8 <= min(lengths) < 100
    assert 3 <= lengths.count(600) + sum(512 < one < 600 for one in lengths) < 20
    assert lengths.count(512) > 8


def test_sets_of_other_clips_have_another_key():
    keys = {HeardTokens(make_clips([5, 6], seed), "size").key for seed in (0, 0, 1)}
    assert len(keys) == 2


@pytest.mark.parametrize("sizes_in_logits", [False, True])
def test_the_teacher_is_the_model_told_its_transcript(sizes_in_logits):
    model, tokenizer = make_speech()
    speech = SpeechModel(model, tokenizer, sizes_in_logits)
    begin, end = [speech.vocabulary.start, 7], speech.vocabulary.end
    clips = make_clips([7, 5])
    teacher = TranscriptTeacher(model, [clip.text for clip in clips], begin, end, sizes_in_logits)
    sets = HeardTokens(clips, "size")
    x = torch.nn.utils.rnn.pad_sequence([clip.tokens.float() for clip in clips], batch_first=True)
    sizes = torch.nn.utils.rnn.pad_sequence([clip.sizes for clip in clips], batch_first=True, padding_value=1.0)
    valid = torch.arange(7) < torch.tensor([7, 5])[:, None]
    decoded = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    items, generator = np.arange(2), np.random.default_rng(0)
    assert len(sets) == 2
    value = teacher.divergence(x, sizes, decoded.requires_grad_(), sizes, valid, items, generator)
    value.backward()
    assert float(decoded.grad[0].abs().sum()) > 0
    assert float(decoded.grad[1, 5:].abs().sum()) == 0
    found, rows = 0.0, 0
    with torch.no_grad():
        for row, clip in enumerate(clips):
            ids = torch.tensor([[*begin, *clip.text]])
            logits = []
            for tokens in (x[row, valid[row]], decoded[row, valid[row]]):
                memory = Memory.of([tokens], [clip.sizes] if sizes_in_logits else None)
                with memory.attended_by(model):
                    out = model(encoder_outputs=memory.outputs, decoder_input_ids=ids).logits[0, len(begin) - 1 :]
                logits.append(out.double().log_softmax(-1))
            true, said = logits
            assert len(true) == len(clip.text) + 1
            found += float((true.exp() * (true - said)).sum())
            rows += len(true)
    assert value.item() == pytest.approx(found / rows, rel=1e-4)
    assert teacher.divergence(x, sizes, x, sizes, valid, items, generator).item() == pytest.approx(0, abs=1e-6)
