"""The answerer of a bundle on disk: symbols in, answers out."""

import shutil
from dataclasses import replace

import httpx
import numpy as np
import pytest
import torch

from cloud.answerer import Question
from cloud.checkpoints import find_checkpoint
from cloud.server import CloudServer, Settings
from cloud.torch_answerer import TorchAnswerer
from tests.llava import (
    CONTEXT,
    SIZE,
    WIDTH,
    make_answerer,
    make_decoder,
    make_language,
    make_vqa_bundle,
    random_frames,
    write_vqa_bundle,
)
from thinwire.bundle import Language, Speech, load_bundle
from thinwire.equalise import ReceivedTokens
from thinwire.errors import BundleError, InvalidFrameError
from thinwire.frames import pack_symbols
from thinwire.generation import Generation
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.rpc import open_channel
from thinwire.v1 import link_pb2, link_pb2_grpc

QUESTIONS = ["what?", "which shape is the circle in?", "is a red square blue?", "two?"]


@pytest.fixture(name="folder", scope="module")
def folder_fixture(tmp_path_factory):
    return write_vqa_bundle(tmp_path_factory.mktemp("bundles") / "vqa").folder


@pytest.fixture(name="answerer", scope="module")
def answerer_fixture():
    return make_answerer()


def texts(answerer, prefixes, questions):
    asked = [Question(prefix, text, Generation(10)) for prefix, text in zip(prefixes, questions, strict=True)]
    return [answer.text for answer in answerer.answer(asked)]


def test_a_batch_of_frames_of_different_token_counts_gives_each_what_it_gets_alone(answerer):
    frames = random_frames(8)
    counts = [len(frame.symbols) for frame in frames]
    assert len(set(counts)) == 8
    prefixes = answerer.view_frames(frames)
    before = len(answerer.language.prompt.before)
    assert [prefix.length for prefix in prefixes] == [before + count for count in counts]
    questions = [QUESTIONS[index % 4] for index in range(8)]
    together = texts(answerer, prefixes, questions)
    alone = [
        texts(answerer, answerer.view_frames([frame]), [text])[0] for frame, text in zip(frames, questions, strict=True)
    ]
    assert together == alone
    assert len(set(together)) > 4


def test_the_decoders_tokens_are_what_the_projector_gets(answerer):
    (frame,) = random_frames(1)
    seen = []
    projector = answerer.language.model.model.multi_modal_projector
    hook = projector.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    answerer.view_frames([frame])
    hook.remove()
    symbols = np.zeros((1, len(frame.symbols), 8), dtype=np.complex64)
    symbols[0, :, : frame.symbols.shape[1]] = frame.symbols
    with torch.inference_mode():
        tokens, _ = answerer.decoder(
            torch.from_numpy(symbols),
            torch.tensor([frame.noise_variance], dtype=torch.float32),
            torch.ones(1, len(frame.symbols), dtype=torch.bool),
            torch.tensor([frame.symbols.shape[1]]),
        )
    torch.testing.assert_close(seen[0], tokens[0])


def test_symbols_that_blow_up_are_an_error_of_their_frame(answerer):
    good, bad = random_frames(2)
    huge = ReceivedTokens(np.full_like(bad.symbols, 3e38), 0.0)
    prefix, error = answerer.view_frames([good, huge])
    assert prefix.length > 0
    assert isinstance(error, InvalidFrameError)


def test_images_go_through_the_checkpoints_own_tower(answerer):
    pixels = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.uint8)
    together = answerer.view_images(pixels)
    normal = torch.from_numpy((pixels.astype(np.float32) / 255 - 0.5) / 0.25).movedim(-1, 1)
    expected = answerer.language.view_pixels(normal)
    for prefix, other in zip(together, expected, strict=True):
        torch.testing.assert_close(prefix.layers[-1], other.layers[-1])


async def test_a_bundle_on_disk_is_served(folder):
    bundle = load_bundle(folder)
    server = CloudServer([(bundle, TorchAnswerer.load(bundle))], Settings("127.0.0.1:0", rest_port=0))
    await server.start()
    expected = make_answerer()
    (frame,) = random_frames(1)
    frame = ReceivedTokens(frame.symbols, 0.0)
    prefixes = expected.view_frames([frame])
    first, second = (texts(expected, prefixes, [question])[0] for question in QUESTIONS[:2])
    message = link_pb2.Frame(
        link_id="test",
        request_id="1" * 32,
        task="vqa",
        question=QUESTIONS[0],
        bundle_digest=bundle.digest,
        tokens=frame.symbols.shape[0],
        symbols_per_token=frame.symbols.shape[1],
        symbols=pack_symbols(frame.symbols),
        generation=link_pb2.Generation(max_new_tokens=10),
    )
    async with (
        open_channel(f"127.0.0.1:{server.grpc_port}") as channel,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as client,
    ):
        result = await link_pb2_grpc.SemanticLinkStub(channel).Infer(message)
        asked = {"inputs": {"question": QUESTIONS[1]}, "parameters": {"max_new_tokens": 10}}
        response = await client.post(f"/v1/frames/{'1' * 32}/questions", json=asked)
        long = {"inputs": {"question": "a " * 900}}
        refused = await client.post(f"/v1/frames/{'1' * 32}/questions", json=long)
        special = {"inputs": {"question": "<image>"}, "stream": True}
        reserved = await client.post(f"/v1/frames/{'1' * 32}/questions", json=special)
    await server.stop()
    assert result.outputs[0].label == first
    assert response.json()["outputs"][0]["answer"] == second
    for answer in (refused, reserved):
        assert (answer.status_code, answer.json()["error"]) == (422, "invalid_request")
    assert str(CONTEXT) in refused.json()["detail"]


ASKED = "<image> {question}"


def test_where_a_checkpoint_lies(folder):
    bundle = load_bundle(folder)
    assert find_checkpoint(bundle, bundle.language) == (str(folder / "llava"), None)
    assert find_checkpoint(bundle, Language("/models/llava", None, ASKED)) == ("/models/llava", None)
    hub = "llava-hf/llava-1.5-7b-hf"
    assert find_checkpoint(bundle, Language(hub, "a-branch", ASKED)) == (hub, "a-branch")
    assert find_checkpoint(bundle, Speech("openai/whisper-tiny.en", None)) == ("openai/whisper-tiny.en", None)


@pytest.mark.parametrize("name", ["lava", "a/b/c", "a b/c", "./x"])
def test_what_names_no_checkpoint(folder, name):
    bundle = load_bundle(folder)
    with pytest.raises(BundleError, match="no folder of it"):
        find_checkpoint(bundle, Language(name, None, ASKED))


@pytest.mark.parametrize("name", ["", "../vqa"])
def test_what_no_checkpoint_can_be_called(name):
    with pytest.raises(BundleError, match=r"language\.checkpoint must"):
        Language(name, None, ASKED)


def test_a_file_that_the_manifest_does_not_list_is_not_loaded(folder, tmp_path):
    copy = tmp_path / "vqa"
    shutil.copytree(folder, copy)
    (copy / "llava" / "adapter_config.json").write_text("{}")
    with pytest.raises(BundleError, match=r"lists no llava/adapter_config\.json"):
        TorchAnswerer.load(load_bundle(copy))


def test_a_bundle_that_does_not_suit_its_language_model():
    bundle = make_vqa_bundle()
    with pytest.raises(BundleError, match="names no language model"):
        TorchAnswerer.load(replace(bundle, language=None))
    with pytest.raises(BundleError, match=f"width 8, the projector takes {WIDTH}"):
        TorchAnswerer(replace(bundle, width=8), make_language(), JsccDecoder(8, 32, 8))
    with pytest.raises(BundleError, match="leave no room"):
        TorchAnswerer(replace(bundle, patches=CONTEXT), make_language(), make_decoder())
