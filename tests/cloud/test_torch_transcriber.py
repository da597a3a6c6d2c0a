"""The transcriber of a bundle on disk: symbols or audio in, transcripts out."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cloud.speech.model import Clip, SpeechModel
from cloud.torch_transcriber import TorchTranscriber
from cloud.transcriber import Heard, Utterance
from tests.speech import POSITIONS, make_speech
from tests.speech_bundle import make_decoder, make_speech_bundle, make_transcriber, random_symbols, write_speech_bundle
from thinwire.audio import SAMPLE_RATE, log_mel
from thinwire.bundle import load_bundle
from thinwire.equalise import ReceivedTokens
from thinwire.errors import BundleError, InvalidFrameError
from thinwire.transcription import TranscriptionOptions

OPTIONS = TranscriptionOptions(temperatures=(0.0,), no_speech_threshold=None, max_new_tokens=12)
FRAMES = [ReceivedTokens(random_symbols(count, rate, count), 0.1) for count, rate in ((3, 8), (1, 2), (50, 4), (17, 8))]


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory):
    return write_speech_bundle(tmp_path_factory.mktemp("bundles") / "speech").folder


@pytest.fixture(name="transcriber", scope="module")
def transcriber_fixture():
    return make_transcriber()


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def texts(transcriber, heard):
    return [one.text for one in transcriber.transcribe([Utterance(one, OPTIONS) for one in heard])]


def test_frames_of_different_token_counts_are_heard_as_each_alone(transcriber):
    together = transcriber.hear_frames(FRAMES)
    assert [one.tokens.shape for one in together] == [(len(frame.symbols), 32) for frame in FRAMES]
    for frame, one in zip(FRAMES, together, strict=True):
        (alone,) = transcriber.hear_frames([frame])
        np.testing.assert_allclose(one.tokens, alone.tokens, rtol=0, atol=1e-5)
        np.testing.assert_allclose(one.sizes, alone.sizes, rtol=1e-4)
        assert one.sizes.sum() == pytest.approx(POSITIONS, rel=1e-4)
        assert one.nbytes == 4 * len(frame.symbols) * 33
    assert texts(transcriber, together) == [text for one in together for text in texts(transcriber, [one])]


def test_the_decoders_tokens_and_sizes_are_what_the_speech_model_gets(transcriber):
    symbols = np.zeros((1, 3, 8), dtype=np.complex64)
    symbols[0] = FRAMES[0].symbols
    with torch.inference_mode():
        tokens, shares = transcriber.decoder(
            torch.from_numpy(symbols), torch.tensor([0.1]), torch.ones(1, 3, dtype=torch.bool), torch.tensor([8])
        )
    (heard,) = transcriber.hear_frames(FRAMES[:1])
    np.testing.assert_allclose(heard.tokens, tokens[0].numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(heard.sizes, POSITIONS * shares[0].numpy(), rtol=1e-4)
    seen = []
    speech = SpeechModel(*make_speech(), sizes_in_logits=True)
    speech.transcribe = lambda clips: seen.extend(clips) or []
    options = replace(OPTIONS, prompt="one")
    given = Utterance(replace(heard, seconds=0.25), options, on_text=print)
    TorchTranscriber(make_speech_bundle(), speech, make_decoder()).transcribe([given])
    (clip,) = seen
    torch.testing.assert_close(clip.tokens, torch.from_numpy(heard.tokens))
    torch.testing.assert_close(clip.sizes, torch.from_numpy(heard.sizes))
    assert (clip.seconds, clip.options, clip.given_up, clip.on_text) == (0.25, options, given.given_up, print)


def test_audio_goes_through_the_models_own_encoder(transcriber):
    clips = [noise(SAMPLE_RATE), noise(1_000, 1)]
    heard = transcriber.hear_audio(clips)
    features = torch.from_numpy(np.stack([log_mel(clip, 8, POSITIONS) for clip in clips]))
    with torch.inference_mode():
        expected = make_speech()[0].model.encoder(features).last_hidden_state
    for one, tokens in zip(heard, expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(one.tokens), tokens)
        assert one.sizes is None
    speech = SpeechModel(*make_speech())
    assert texts(transcriber, heard) == [
        one.text for one in speech.transcribe([Clip(t, options=OPTIONS) for t in expected])
    ]


def test_symbols_that_blow_up_are_an_error_of_their_frame(transcriber):
    huge = ReceivedTokens(np.full_like(FRAMES[0].symbols, 3e38), 0.0)
    good, bad = transcriber.hear_frames([FRAMES[1], huge])
    assert isinstance(good, Heard)
    assert isinstance(bad, InvalidFrameError)


def test_a_bundle_on_disk(folder, transcriber):
    loaded = TorchTranscriber.load(load_bundle(folder))
    assert texts(loaded, loaded.hear_frames(FRAMES)) == texts(transcriber, transcriber.hear_frames(FRAMES))
    assert len(set(texts(loaded, loaded.hear_frames(FRAMES)))) > 2


def test_a_bundle_that_does_not_suit_its_speech_model():
    bundle, speech = make_speech_bundle(), SpeechModel(*make_speech())
    with pytest.raises(BundleError, match="names no speech model"):
        TorchTranscriber.load(replace(bundle, speech=None))
    for name, value in {"width": 8, "patches": 1500, "prefix_tokens": 1}.items():
        with pytest.raises(BundleError, match=f"its manifest has {name} {value}, its speech model"):
            TorchTranscriber(replace(bundle, **{name: value}), speech, make_decoder())


def altered(folder, tmp_path, change):
    """A bundle whose checkpoint is a changed copy in a folder of its own."""
    shutil.copytree(folder / "whisper", tmp_path / "whisper")
    change(tmp_path / "whisper")
    bundle = load_bundle(folder)
    return replace(bundle, speech=replace(bundle.speech, checkpoint=str(tmp_path / "whisper")))


def without_a_tensor(checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "layers.1.encoder_attn.v_proj" not in name}
    save_file(kept, checkpoint / "model.safetensors", {"format": "pt"})


def as_pickle(checkpoint):
    torch.save(load_file(checkpoint / "model.safetensors"), checkpoint / "pytorch_model.bin")
    (checkpoint / "model.safetensors").unlink()


def as_another(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"model_type": "speech_to_text"}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_a_tensor, r"no Whisper that can be read: its weights lack .*v_proj"),
        (as_pickle, r"no Whisper that can be read: .*safetensors"),
        (as_another, r"model_type: expected whisper, got speech_to_text"),
        (lambda checkpoint: (checkpoint / "tokenizer.json").write_text("{}"), "no Whisper that can be read"),
    ],
)
def test_what_is_no_checkpoint(folder, tmp_path, change, reason):
    with pytest.raises(BundleError, match=reason):
        TorchTranscriber.load(altered(folder, tmp_path, change))


def test_a_checkpoint_elsewhere_is_pinned_by_its_digest(folder, tmp_path):
    bundle = altered(folder, tmp_path, lambda checkpoint: None)
    TorchTranscriber.load(bundle)
    with pytest.raises(BundleError, match="is missing, or was altered"):
        TorchTranscriber.load(replace(bundle, speech=replace(bundle.speech, revision="0" * 64)))
