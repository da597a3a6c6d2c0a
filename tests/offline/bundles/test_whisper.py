"""Whisper's weights out of CTranslate2's format, written here from what is known of the format."""

import json

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration

from offline.bundles.ctranslate2 import read_variables
from offline.bundles.whisper import convert_whisper, read_whisper
from tests.ctranslate2 import make_whisper, model_bytes, variables_of, write_folder
from thinwire.errors import BundleError


@pytest.fixture(name="model", scope="module")
def model_fixture():
    model = make_whisper().half().float()
    model.generation_config.begin_suppress_tokens = model.generation_config.suppress_tokens = None
    return model


@pytest.fixture(name="arrays")
def arrays_fixture(model):
    return variables_of(model)


def test_a_round_trip_keeps_every_tensor(model, arrays, tmp_path):
    ours = read_whisper(write_folder(tmp_path, model_bytes(arrays)))
    expected = model.state_dict()
    assert ours.state_dict().keys() == expected.keys()
    for name, value in ours.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, expected[name]), name
    features, words = torch.randn(2, 8, 60), torch.tensor([[93, 99, 5], [93, 99, 7]])
    with torch.inference_mode():
        # Heads, activation and norms are in the configuration alone.
        assert torch.equal(
            ours(features, decoder_input_ids=words).logits, model(features, decoder_input_ids=words).logits
        )
    assert not ours.training


def test_the_folder_is_one_of_transformers(model, arrays, tmp_path):
    convert_whisper(write_folder(tmp_path / "there", model_bytes(arrays)), tmp_path / "here")
    ours = WhisperForConditionalGeneration.from_pretrained(tmp_path / "here")
    assert ours.dtype == torch.float16
    assert all(torch.equal(value.float(), model.state_dict()[name]) for name, value in ours.state_dict().items())
    decoding = ours.generation_config
    assert (decoding.suppress_tokens, decoding.begin_suppress_tokens) == ([1, 2], [3, 92])
    assert (decoding.decoder_start_token_id, decoding.eos_token_id, decoding.no_timestamps_token_id) == (93, 92, 99)
    assert (decoding.is_multilingual, decoding.max_length) == (False, 12)
    assert json.loads((tmp_path / "here" / "preprocessor_config.json").read_text())["feature_size"] == 8
    assert (tmp_path / "here" / "tokenizer.json").read_bytes() == (tmp_path / "there" / "tokenizer.json").read_bytes()


def test_weights_of_32_bits_stay_so(model, arrays, tmp_path):
    arrays["encoder/conv1/bias"] = np.full(24, 0.1, np.float32)
    convert_whisper(write_folder(tmp_path / "there", model_bytes(arrays)), tmp_path / "here")
    ours = WhisperForConditionalGeneration.from_pretrained(tmp_path / "here", dtype="auto")
    assert ours.model.encoder.conv1.bias.unique().tolist() == [np.float32(0.1)]


def changed(arrays, **changes):
    return {name: value for name, value in (arrays | changes).items() if value is not None}


def key_bias(arrays):
    name = "decoder/layer_1/self_attention/linear_0/bias"
    bias = arrays[name].copy()
    bias[30] = 1
    return {name: bias}


WRONG = {
    "another version": (lambda a: model_bytes(a, version=5), "expected CTranslate2's binary version 6, got 5"),
    "another spec": (lambda a: model_bytes(a, spec="TransformerSpec"), "got TransformerSpec of revision 3"),
    "another revision": (lambda a: model_bytes(a, revision=4), "expected WhisperSpec of revision 3, got .* revision 4"),
    "empty": (lambda a: b"", "cut short: expected 4 bytes or more, got 0"),
    "text": (lambda a: b"hello, this is no model at all", "expected CTranslate2's binary version 6, got 1819043176"),
    "cut short": (lambda a: model_bytes(a)[:-1], "cut short: expected [0-9]+ bytes or more, got [0-9]+"),
    "cut in the middle": (lambda a: model_bytes(a)[:9000], "cut short: expected [0-9]+ bytes or more, got 9000"),
    "something behind": (lambda a: model_bytes(a) + b"\0", r"expected [0-9]+ bytes, got [0-9]+"),
    "a variable less": (
        lambda a: model_bytes(changed(a, **{"encoder/conv2/bias": None})),
        r"expected 96 variables, got no encoder/conv2/bias \(1 are missing\)",
    ),
    "a layer less": (
        lambda a: model_bytes({name: value for name, value in a.items() if "encoder/layer_1" not in name}),
        r"got no encoder/layer_1/.* \(12 are missing\)",
    ),
    "a variable more": (lambda a: model_bytes(a | {"surprise": np.zeros(1, np.float16)}), "got surprise as well$"),
    "quantised": (
        lambda a: model_bytes(a | {"encoder/conv1/weight_scale": np.zeros(1, np.float32)}),
        "got encoder/conv1/weight_scale as well, of a quantised model",
    ),
    "whole numbers": (
        lambda a: model_bytes(a | {"encoder/conv1/bias": np.zeros(24, np.int8)}),
        "encoder/conv1/bias: expected float16 or float32, got int8",
    ),
    "another activation": (
        lambda a: model_bytes(a | {"decoder/activation": np.array(0, np.int8)}),
        "decoder/activation: expected 3, got 0",
    ),
    "a bias of keys": (lambda a: model_bytes(a | key_bias(a)), "expected zeros for the keys"),
    "another alias": (lambda a: model_bytes(a, aliases=(("a", "b"),)), "as aliases, got {'a': 'b'}"),
    "another shape": (
        lambda a: model_bytes(a | {"encoder/layer_norm/gamma": np.zeros(23, np.float16)}),
        r"expected model.encoder.layer_norm.weight of \(24,\), got \(23,\)",
    ),
    "another rank": (
        lambda a: model_bytes(a | {"encoder/conv1/weight": np.zeros(24, np.float16)}),
        "encoder/conv1/weight: expected a rank of 3",
    ),
    "rows that are not three": (
        lambda a: model_bytes(a | {"encoder/layer_0/self_attention/linear_0/bias": np.zeros(71, np.float16)}),
        r"expected rows for 3, got \(71,\)",
    ),
    "heads that do not fit": (
        lambda a: model_bytes(a | {"encoder/num_heads": np.array(7, np.int16)}),
        "num_heads: expected divisors of the width 24",
    ),
    "several numbers of heads": (
        lambda a: model_bytes(a | {"encoder/num_heads": np.zeros(2, np.int16)}),
        r"encoder/num_heads: expected one number, got \(2,\)",
    ),
}


@pytest.mark.parametrize(("content", "message"), WRONG.values(), ids=WRONG)
def test_what_is_no_whisper(arrays, tmp_path, content, message):
    with pytest.raises(BundleError, match=message) as caught:
        read_whisper(write_folder(tmp_path, content(arrays)))
    assert "\n" not in str(caught.value)


def test_any_byte_may_be_the_last(arrays, tmp_path):
    content = model_bytes({name: arrays[name] for name in ("encoder/conv1/bias", "decoder/alibi")})
    path = tmp_path / "model.bin"
    for length in (*range(90), *range(90, len(content), 7)):
        path.write_bytes(content[:length])
        with pytest.raises(BundleError, match="cut short"):
            read_variables(path)


def test_a_size_that_lies(arrays, tmp_path):
    content = model_bytes({"a": np.zeros(3, np.float32)})
    (tmp_path / "model.bin").write_bytes(content.replace(b"\x03\0\0\0\0\x0c", b"\xff\xff\xff\xff\0\x0c"))
    with pytest.raises(BundleError, match="a: expected 17179869180 bytes, got 12"):
        read_variables(tmp_path / "model.bin")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.bin", None, "expected a model of CTranslate2: No such file"),
        ("tokenizer.json", None, "tokenizer.json: expected Whisper's tokenizer: FileNotFoundError"),
        ("tokenizer.json", "{", "expected Whisper's tokenizer: JSONDecodeError"),
        ("tokenizer.json", "[]", "expected Whisper's tokenizer: TypeError"),
        ("tokenizer.json", '{"added_tokens": []}', r"among the added tokens, got no <\|startoftranscript"),
        ("config.json", None, "config.json: expected CTranslate2's configuration: FileNotFoundError"),
        ("config.json", "[]", "expected CTranslate2's configuration: AttributeError"),
    ],
)
def test_a_folder_that_is_not_whole(arrays, tmp_path, name, content, message):
    folder = write_folder(tmp_path, model_bytes(arrays))
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(BundleError, match=message):
        read_whisper(folder)
