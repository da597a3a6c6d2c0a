"""A bundle around the tiny Whisper, and frames for it."""

import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from cloud.speech.model import SpeechModel
from cloud.torch_transcriber import TorchTranscriber
from offline.bundles.write import write_weights
from offline.export.bundle import export_bundle
from policies.front import Front
from policies.fronts import Fronts
from policies.policy import AccuracyAt, MeasuredPolicy, Objectives, Policy
from tests.speech import POSITIONS, make_speech
from thinwire.bundle import FRONT, Bundle, Codec, Merging, Reference, Speech, file_sha256
from thinwire.channels import Channel
from thinwire.frames import pack_symbols
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.nn.codec.encoders import MlpEncoder
from thinwire.nn.towers.whisper_tower import SIZES, WhisperTower
from thinwire.v1 import link_pb2

WIDTH = 32
MERGING = Policy.create((0.99, 0.98), 4)


def make_speech_bundle(folder: Path = Path("nowhere"), **changes: Any) -> Bundle:
    """A manifest without files."""
    bundle = Bundle(
        name="tiny-speech",
        task="transcription",
        model={"tower": "whisper", "config": {}},
        split_layer=2,
        depth=2,
        width=WIDTH,
        patches=POSITIONS,
        prefix_tokens=0,
        labels=(),
        merging=Merging(neighbours=3),
        codec=Codec(hidden=32, max_symbols_per_token=8, rates=(2, 4, 8), snr_db=(0.0, 20.0)),
        files={},
        speech=Speech("whisper", None, sizes_in_logits=True),
        folder=folder,
    )
    return replace(bundle, **changes)


def make_decoder() -> JsccDecoder:
    """A JSCC decoder whose tokens differ."""
    torch.manual_seed(5)
    decoder = JsccDecoder(WIDTH, 32, 8)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return decoder.eval()


def make_transcriber() -> TorchTranscriber:
    """What `write_speech_bundle` writes, without the disk."""
    return TorchTranscriber(make_speech_bundle(), SpeechModel(*make_speech(), sizes_in_logits=True), make_decoder())


def write_speech_bundle(folder: Path) -> Bundle:
    """The cloud's part of a speech bundle with random weights, in ``folder``."""
    model, tokenizer = make_speech()
    model.save_pretrained(folder / "whisper")
    tokenizer.save_pretrained(folder / "whisper")
    save_file(make_decoder().state_dict(), folder / "decoder.safetensors")
    paths = (path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): file_sha256(path) for path in paths}
    bundle = make_speech_bundle(folder, files=files)
    bundle.save()
    return bundle


def write_whole_speech_bundle(folder: Path) -> Bundle:
    """A speech bundle with random weights for edge and cloud, its graph, and a front of the policy `MERGING`."""
    folder.mkdir()
    model, tokenizer = make_speech()
    model.save_pretrained(folder / "whisper")
    tokenizer.save_pretrained(folder / "whisper")
    tower = WhisperTower.around(model)
    torch.manual_seed(6)
    parts = {"backbone": tower.module, "encoder": MlpEncoder(WIDTH, 32, 8), "decoder": make_decoder()}
    write_weights(parts, folder)
    paths = (path for path in folder.rglob("*") if path.is_file())
    bundle = make_speech_bundle(
        folder,
        model={"tower": "whisper", "config": {name: getattr(model.config, name) for name in SIZES}},
        files={path.relative_to(folder).as_posix(): file_sha256(path) for path in paths},
        reference=Reference(4, 4 * POSITIONS, 0.5, 0.1, 10, 10.0),
    )
    bundle.save()
    bundle = export_bundle(bundle)
    measured = MeasuredPolicy(
        MERGING,
        bundle.digest,
        Channel("awgn", 10.0),
        Objectives(0.5, 0.1, 10, 0.001, 4.0 * POSITIONS, 4 * POSITIONS, POSITIONS, 1.0, 0.0, 0.0, 0.1),
        (AccuracyAt(10.0, 0.5, 0.1, 0.0, 0.1),),
    )
    Fronts((Front(bundle.name, bundle.digest, (measured,)),)).save(bundle.path(FRONT))
    return bundle


def random_symbols(tokens: int, rate: int = 4, seed: int = 0) -> NDArray[np.complex64]:
    """``tokens x rate`` symbols."""
    generator = np.random.default_rng(seed)
    parts = generator.normal(size=(2, tokens, rate))
    symbols: NDArray[np.complex64] = (parts[0] + 1j * parts[1]).astype(np.complex64)
    return symbols


def make_speech_frame(bundle: Bundle, symbols: NDArray[np.complex64], /, **fields: Any) -> link_pb2.Frame:
    """A frame with these symbols."""
    defaults = {
        "link_id": "test",
        "request_id": secrets.token_hex(16),
        "task": "transcription",
        "bundle_digest": bundle.digest,
        "tokens": len(symbols),
        "symbols_per_token": symbols.shape[1],
        "symbols": pack_symbols(symbols),
    }
    return link_pb2.Frame(**defaults | fields)
