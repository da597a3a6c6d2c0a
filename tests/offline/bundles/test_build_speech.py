"""From recordings to a speech bundle, with a tiny Whisper in a few steps; and what is refused before any of them."""

import json
import re

import numpy as np
import pytest

from cloud.torch_transcriber import TorchTranscriber
from deploy.cli.main import main
from edge.onnx_engine import OnnxEngine
from edge.torch_engine import TorchEngine
from offline.bundles import build_speech
from offline.data.utterances import load_utterances
from offline.recipes.recipe import recipe_path
from policies.policy import Policy
from tests import recipes
from tests.edge.test_onnx_engine import assert_same
from tests.offline.data.test_digits import made, write_tar
from tests.shipped_speech import publish
from thinwire.audio import log_mel
from thinwire.bundle import load_bundle
from thinwire.equalise import ReceivedTokens
from thinwire.exports import EDGE


def write_recipe(folder, **changes):
    """The shipped recipe, of a tiny codec and few clips; see `tests.recipes.write_recipe`."""
    content = json.loads(recipe_path("whisper-tiny-en").read_text()) | {"name": "tiny-speech"}
    content["codec"] |= {"hidden": 32, "max_symbols_per_token": 8, "rates": [2, 8]}
    content["clips"] |= {"count": 5}
    content["codec_training"] |= {"epochs": 2, "batch_size": 2}
    designed = [{"thresholds": [0.999, 1, 1, 0.9], "rates": [2, 8]}]
    content["search"] = {"evaluations": 2, "images": 2, "max_loss": 0.5, "channels": ["awgn:10"], "front_snrs_db": [10],
                         "designed": designed}  # fmt: skip
    return recipes.write_recipe(folder, content, changes)


@pytest.fixture(name="data", scope="module")
def data_fixture(tmp_path_factory):
    return write_tar(tmp_path_factory.mktemp("digits") / "digits.tar", made(numbers=12))


@pytest.fixture(name="weights", scope="module")
def weights_fixture(tmp_path_factory):
    return str(publish(tmp_path_factory.mktemp("published") / "ctranslate2", kind="ctranslate2"))


def build(folder, data, weights, *more, **changes):
    where = ["--work", str(folder / "work"), "--output", str(folder / "bundle"), "--data", data, "--weights", weights]
    return main(["bundle", "build", "--recipe", write_recipe(folder, **changes), *where, *more])


def test_a_bundle_that_both_ends_run(tmp_path, data, weights, capsys, monkeypatch):
    searched = []

    # Utterances of six digits are longer than what a tiny model hears.
    def with_policies(bundle, select, *_):
        searched.append(select)
        return bundle

    monkeypatch.setattr(build_speech, "with_policies", with_policies)
    assert build(tmp_path, data, weights) == 0
    bundle = load_bundle(tmp_path / "bundle")
    assert capsys.readouterr().out == f"bundle tiny-speech {bundle.digest[:16]} in {bundle.folder}\n"
    assert (bundle.task, bundle.split_layer, bundle.steps) == ("transcription", 3, 4)
    assert bundle.exports.keys() == {EDGE}
    in_torch, in_onnx = TorchEngine.load(bundle), OnnxEngine.load(bundle)
    audio = np.random.default_rng(0).normal(0, 0.1, 8_000)
    features = log_mel(audio, 8, bundle.patches)
    policy = Policy.create((1.0,) * 4, 8)
    encoded = in_onnx.encode(features, policy, 10.0)
    assert_same(encoded, in_torch.encode(features, policy, 10.0))
    transcriber = TorchTranscriber.load(bundle)
    (heard,) = transcriber.hear_frames([ReceivedTokens(encoded.symbols, 0.01)])
    assert heard.tokens.shape == (bundle.patches, bundle.width)
    assert main(["bundle", "info", "--bundle", str(bundle.folder)]) == 0
    assert "speech         whisper" in capsys.readouterr().out

    assert searched[0].names == load_utterances(data, select=True).names

    # Nothing is trained or heard again.
    monkeypatch.setattr("offline.train.jscc.CodecTrainer._loss", None)
    monkeypatch.setattr("offline.train.heard._hear", None)
    assert build(tmp_path, data, weights) == 0
    assert load_bundle(tmp_path / "bundle") == bundle


@pytest.mark.parametrize(
    ("changes", "more", "says"),
    [
        ({"clips": None}, (), "clips is missing"),
        ({"begin_with": "whisper-tiny-en"}, (), "begin_with: expected a pair for 24 channels, of the recipe's shape"),
        ({"begin_with": "nobody"}, (), "no readable bundle nobody"),
        ({"clips__thresholds": [0.5, 1.5]}, (), r"clips.thresholds.* at most 1"),
        ({"clips__digits": [3, 2]}, (), r"digits: expected the fewest first, got \[3, 2\]"),
        ({"clips__count": 1}, (), "codec_training.batch_size: expected at most the 1 clips, got 2"),
        ({"codec__hidden": 30}, (), "the codec cannot be computed"),
        ({"search__channels": ["fog:3"]}, (), "search.channels"),
        ({"search__designed": [{"thresholds": [1, 1], "rates": [8]}]}, (), "search.designed: expected 4 thresholds"),
        ({"search__designed": [{"thresholds": [1] * 4, "rates": [7]}]}, (), r"expected rates of \[2, 8\], got 7"),
        ({}, ("--labels", "3"), "labels: expected none for a bundle of speech"),
        ({}, ("--weights", "nowhere/nobody"), "no checkpoint nowhere/nobody"),
        ({}, ("--data", "nothing.tar"), "nothing.tar: expected an uncompressed tar of recordings"),
    ],
)
def test_what_cannot_become_one_is_refused_before_anything_is_made(
    tmp_path, data, weights, capsys, monkeypatch, changes, more, says
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(build_speech, "hear", lambda *_, **__: pytest.fail("something was heard"))
    assert build(tmp_path, data, weights, *more, **changes) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(says, line), line
    assert not (tmp_path / "work").exists()
    assert not (tmp_path / "bundle").exists()
