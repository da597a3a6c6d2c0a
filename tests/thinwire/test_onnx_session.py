"""Files that are no export, or another bundle's."""

from dataclasses import replace

import onnx
import pytest
from onnx import helper

from edge.onnx_engine import OnnxEngine
from tests.onnx import exported
from thinwire.bundle import file_sha256, load_bundle
from thinwire.errors import BundleError, EngineError
from thinwire.exports import EDGE, METADATA
from thinwire.onnx_session import OnnxSession


def changed(change):
    engine, model = exported("paper")
    proto = onnx.load_from_string(model)
    change(proto)
    return engine.bundle, proto.SerializeToString()


def with_metadata(text):
    return lambda proto: helper.set_model_props(proto, {METADATA: text})


def foreign(proto):
    del proto.graph.input[1:]
    del proto.graph.node[:]
    proto.graph.node.append(helper.make_node("Identity", ["pixels"], ["symbols"]))
    del proto.graph.output[1:]
    proto.graph.output[0].type.CopyFrom(proto.graph.input[0].type)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda proto: proto.ClearField("graph"), "cannot be loaded|is no export"),
        (lambda proto: proto.graph.node.pop(), "cannot be loaded"),
        (lambda proto: proto.ClearField("metadata_props"), "is no export of this project"),
        (with_metadata("{"), "is no export of this project"),
        (with_metadata("[1]"), "is no export of this project"),
        (with_metadata('{"format": 2, "bundle": "x"}'), "has format 2; this version reads 1"),
        (with_metadata('{"format": 1, "bundle": "0123"}'), "was exported from bundle 0123"),
        (foreign, "does not take and give"),
    ],
)
def test_what_is_no_export_of_the_bundle_is_refused(change, message):
    bundle, model = changed(change)
    with pytest.raises(BundleError, match=message):
        OnnxEngine(bundle, OnnxSession(bundle, EDGE, model))


@pytest.mark.parametrize("model", [b"", b"not a graph", b"\x08\x0a" * 500])
def test_noise_is_refused(model):
    bundle = exported("paper")[0].bundle
    with pytest.raises(BundleError, match=r"cannot be loaded|is no export"):
        OnnxSession(bundle, EDGE, model)


@pytest.mark.parametrize("text", ['"cost": 1', '"cost": {"layers": []}, "least_tokens": 1', '"other": 1'])
def test_an_export_that_does_not_state_its_cost_is_refused(text):
    engine, _ = exported("paper")
    stated = f'{{"format": 1, "bundle": "{engine.bundle.digest}", {text}}}'
    bundle, model = changed(with_metadata(stated))
    with pytest.raises(BundleError, match="does not state its cost"):
        OnnxEngine(bundle, OnnxSession(bundle, EDGE, model))


def test_what_cannot_be_run_is_told():
    engine, model = exported("paper")
    session = OnnxSession(engine.bundle, EDGE, model)
    with pytest.raises(EngineError, match="cannot be run"):
        session.run({})


def test_a_bundle_vouches_for_its_exports(tmp_path, tiny_bundle):
    bundle = replace(tiny_bundle, folder=tmp_path)
    for name in tiny_bundle.files:
        bundle.path(name).write_bytes(tiny_bundle.path(name).read_bytes())
    with pytest.raises(BundleError, match=r"it was not exported, there is no edge\.onnx"):
        OnnxEngine.load(bundle)
    bundle.path(EDGE).write_bytes(b"anything")
    exporting = replace(bundle, exports={EDGE: file_sha256(bundle.path(EDGE))})
    exporting.save()
    loaded = load_bundle(tmp_path)
    assert loaded.digest == tiny_bundle.digest
    with pytest.raises(BundleError, match="cannot be loaded"):
        OnnxEngine.load(loaded)
    bundle.path(EDGE).write_bytes(b"something else")
    with pytest.raises(BundleError, match=r"edge\.onnx was altered"):
        load_bundle(tmp_path)
    replace(exporting, exports={"../edge.onnx": "0"}).save()
    with pytest.raises(BundleError, match="does not name a file inside"):
        load_bundle(tmp_path)
    replace(exporting, exports={"encoder.safetensors": "0"}).save()
    with pytest.raises(BundleError, match="files and exports must not both hold"):
        load_bundle(tmp_path)


def test_a_manifest_without_exports_stays_as_it_is(tiny_bundle):
    assert "exports" not in (tiny_bundle.folder / "bundle.json").read_text()
