"""Exports of tiny engines, each made once: torch takes seconds for one."""

from dataclasses import replace
from functools import cache

import torch

from edge.onnx_engine import OnnxEngine
from edge.torch_engine import TorchEngine
from offline.export.edge import export_edge
from tests.parts import make_engine
from tests.speech_engine import make_speech_engine
from tests.towers import make_vqa_engine
from thinwire.bundle import Merging
from thinwire.exports import EDGE
from thinwire.nn.codec.encoders import build_encoder
from thinwire.onnx_session import OnnxSession

AVERAGE = {"class_token": False, "global_pool": "avg"}
# Every value of every field of `Merging`, and every kind of prefix, at least once.
KINDS = {
    "paper": lambda: make_engine(),
    "shipped": lambda: _merging(make_engine(**AVERAGE), Merging("value", "size", True, "attention")),
    "tome": lambda: _merging(make_engine(2, depth=2), Merging("key_mean", "size", True, "attention")),
    "narrow": lambda: _merging(make_engine(), Merging("value_head", "size", False, "attention")),
    "late": lambda: _merging(make_engine(1, depth=2, **AVERAGE), Merging("key", "norm", False, "layer")),
    "registers": lambda: _merging(make_engine(2, reg_tokens=2), Merging("value", "norm", True, "layer")),
    "clip": lambda: make_vqa_engine("clip", 0),
    "siglip": lambda: _merging(make_vqa_engine("siglip"), Merging("key", "size", False, "attention")),
    "photos": lambda: _merging(
        make_engine(2, depth=2, global_pool="token+avg", init_values=0.3), Merging("value", "size", True, "attention")
    ),
    "nothing on the device": lambda: make_engine(0),
    "attention": lambda: _attention(make_engine(**AVERAGE)),
}


def _merging(engine: TorchEngine, merging: Merging) -> TorchEngine:
    return TorchEngine(replace(engine.bundle, merging=merging), engine.tower, engine.encoder)


def _attention(engine: TorchEngine) -> TorchEngine:
    bundle = replace(engine.bundle, codec=replace(engine.bundle.codec, encoder="attention"))
    encoder = build_encoder(bundle.codec, bundle.width)
    # As drawn, attention would add a tenth of itself to each token.
    torch.nn.init.ones_(encoder.block.ls1.gamma)
    return TorchEngine(bundle, engine.tower, encoder)


# Of tokens in a row, and with a merge in front of the first layer.
SPEECH_KINDS = {
    "in time": lambda: make_speech_engine(Merging("value", "size", True, "attention", 3, True), 2),
    "narrow in time": lambda: make_speech_engine(Merging("value_head", "norm", False, "layer", 2), 2),
    "in front": lambda: make_speech_engine(Merging("key_mean", "size", front=True), 1),
    "silence in front": lambda: make_speech_engine(
        Merging("value", "size", True, neighbours=2, front=True, front_rounds=6), 2
    ),
    "raster": lambda: _merging(make_engine(1, depth=2), Merging("key", "size", True, neighbours=3, front=True)),
}


@cache
def exported(kind: str) -> tuple[TorchEngine, bytes]:
    """An engine in torch and its export."""
    engine = (KINDS.get(kind) or SPEECH_KINDS[kind])()
    if kind == "registers":
        engine = TorchEngine(replace(engine.bundle, prefix_tokens=3), engine.tower, engine.encoder)
    return engine, export_edge(engine).SerializeToString()


def engines(kind: str) -> tuple[TorchEngine, OnnxEngine]:
    """An engine in torch, and one of the same function in ONNX Runtime."""
    engine, model = exported(kind)
    return engine, OnnxEngine(engine.bundle, OnnxSession(engine.bundle, EDGE, model))
