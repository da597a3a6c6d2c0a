"""A bundle keeps what both ends must agree on: any change of it shows in the digest, any damage on loading."""

import dataclasses
import hashlib
import json
import math
from pathlib import Path

import pytest

import thinwire
from tests.thinwire.conftest import WEIGHTS
from thinwire.bundle import (
    MANIFEST,
    SCHEMA_VERSION,
    Bundle,
    Language,
    Merging,
    file_sha256,
    load_bundle,
    shipped,
)
from thinwire.bundle import load as loading
from thinwire.errors import BundleError


def edit(bundle, change):
    """Rewrite the manifest by a function on its content."""
    path = bundle.path(MANIFEST)
    content = json.loads(path.read_text())
    replaced = change(content)
    path.write_text(json.dumps(content if replaced is None else replaced))


def test_round_trip(saved):
    loaded = load_bundle(saved.folder)
    assert loaded == saved
    assert loaded.digest == saved.digest
    assert loaded.folder == saved.folder
    assert load_bundle(str(saved.folder)) == saved
    for field in dataclasses.fields(Bundle):
        assert type(getattr(loaded, field.name)) is type(getattr(saved, field.name)), field.name
    assert isinstance(loaded.labels, tuple)
    assert isinstance(loaded.codec.rates, tuple)
    assert isinstance(loaded.preprocessing.mean, tuple)
    hash(loaded.codec)


def test_a_bundle_with_a_language_model(saved):
    bundle = dataclasses.replace(saved, task="vqa", labels=(), language=Language("llava", None, "<image>{question}"))
    bundle.save()
    assert load_bundle(saved.folder) == bundle


def test_a_bundle_without_a_language_model_does_not_speak_of_one(saved):
    assert "language" not in json.loads(saved.path(MANIFEST).read_text())


def test_the_encoder_stands_in_the_manifest_where_it_is_not_the_first(saved):
    assert "encoder" not in json.loads(saved.path(MANIFEST).read_text())["codec"]
    bundle = dataclasses.replace(saved, codec=dataclasses.replace(saved.codec, encoder="attention"))
    bundle.save()
    assert json.loads(saved.path(MANIFEST).read_text())["codec"]["encoder"] == "attention"
    assert load_bundle(saved.folder) == bundle


def test_a_bundle_without_a_reference(saved):
    bundle = dataclasses.replace(saved, reference=None)
    bundle.save()
    loaded = load_bundle(saved.folder)
    assert loaded.reference is None
    assert loaded == bundle


def test_file_sha256(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    # The example of FIPS 180-2.
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"",
        lambda data: bytes([data[0] ^ 1]) + data[1:],
    ],
)
def test_an_altered_file(saved, damage):
    saved.path("weights.safetensors").write_bytes(damage(WEIGHTS))
    with pytest.raises(BundleError, match=r"tiny: weights\.safetensors was altered"):
        load_bundle(saved.folder)


def test_a_missing_file(saved):
    path = saved.path("weights.safetensors")
    path.unlink()
    with pytest.raises(BundleError, match=r"weights\.safetensors is missing"):
        load_bundle(saved.folder)
    path.mkdir()
    with pytest.raises(BundleError, match="missing"):
        load_bundle(saved.folder)


def test_verify_looks_again(saved):
    bundle = load_bundle(saved.folder)
    bundle.verify()
    bundle.path("weights.safetensors").write_bytes(b"")
    with pytest.raises(BundleError):
        bundle.verify()


@pytest.mark.parametrize(
    "name", ["../secret", "deeper/../../secret", "..", "..\\secret", "C:\\secret", "C:secret", "absolute", ""]
)
def test_a_name_that_leads_out_of_the_folder(saved, name):
    secret = saved.folder.parent / "secret"
    secret.write_bytes(WEIGHTS)
    (saved.folder / "deeper").mkdir()
    # As a file of that very name it would do no harm on this system, but on another.
    if "\\" in name or ":" in name:
        (saved.folder / name).write_bytes(WEIGHTS)
    name = str(secret) if name == "absolute" else name
    edit(saved, lambda content: content["files"].update({name: file_sha256(secret)}))
    with pytest.raises(BundleError):
        load_bundle(saved.folder)


def test_a_file_in_a_folder_of_the_bundle(saved):
    (saved.folder / "onnx").mkdir()
    (saved.folder / "onnx" / "..block.onnx").write_bytes(WEIGHTS)
    edit(saved, lambda content: content["files"].update({"onnx/..block.onnx": hashlib.sha256(WEIGHTS).hexdigest()}))
    assert len(load_bundle(saved.folder).files) == 2


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1, None, "1"])
def test_another_schema(saved, version):
    edit(saved, lambda content: content.update(schema_version=version))
    with pytest.raises(BundleError, match=f"has schema {version}; this version reads {SCHEMA_VERSION}"):
        load_bundle(saved.folder)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Bundle) if field.name != "folder"])
def test_a_missing_field(saved, field):
    edit(saved, lambda content: {name: value for name, value in content.items() if name != field})
    if field in {"reference", "language", "speech", "exports", "backbone"}:
        assert not getattr(load_bundle(saved.folder), field)
        return
    with pytest.raises(BundleError, match="incomplete"):
        load_bundle(saved.folder)


@pytest.mark.parametrize("part", ["preprocessing", "codec", "reference"])
def test_a_missing_field_of_a_part(saved, part):
    edit(saved, lambda content: content | {part: dict(list(content[part].items())[1:])})
    with pytest.raises(BundleError, match="incomplete"):
        load_bundle(saved.folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(surprise=1),
        lambda content: content["codec"].update(surprise=1),
        lambda content: content["merging"].update(surprise=1),
        lambda content: content["merging"].update(metric="query"),
        lambda content: content.update(labels=None),
        lambda content: content.update(labels=3),
        lambda content: content.update(codec=[]),
        lambda content: content.update(preprocessing=None),
        lambda content: content.update(files=["weights.safetensors"]),
        lambda content: content.update(files=None),
        lambda content: content.update(files={"weights.safetensors": None}),
        lambda content: content.update(task="segment"),
        lambda content: content.update(task=["classify"]),
        lambda content: content.update(depth="3"),
        lambda content: content.update(depth=True),
        lambda content: content.update(split_layer=-1),
        lambda content: content.update(split_layer=10**9),
        lambda content: content.update(labels=[]),
        lambda content: content.update(labels=[1]),
        lambda content: content["preprocessing"].update(size=20.0),
        lambda content: content["preprocessing"].update(size=0),
        lambda content: content["preprocessing"].update(crop=0),
        lambda content: content["preprocessing"].update(interpolation="nearest"),
        lambda content: content["preprocessing"].update(interpolation=[]),
        lambda content: content["preprocessing"].update(mean=[0.5]),
        lambda content: content["preprocessing"].update(std=[0.5, 0.5, 0]),
        lambda content: content["preprocessing"].update(std=[0.5, 0.5, math.inf]),
        lambda content: content["codec"].update(max_symbols_per_token="8"),
        lambda content: content["codec"].update(rates=[10**9]),
        lambda content: content["codec"].update(snr_db=[None, 1]),
        lambda content: content["reference"].update(symbols_per_token="8"),
        lambda content: [],
        lambda content: ["schema_version"],
        lambda content: "schema_version",
        lambda content: 1,
    ],
)
def test_a_manifest_of_another_form(saved, change):
    edit(saved, change)
    with pytest.raises(BundleError):
        load_bundle(saved.folder)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"schema_version": 1', b"nonsense"])
def test_a_manifest_that_is_no_json(saved, text):
    saved.path(MANIFEST).write_bytes(text)
    with pytest.raises(BundleError):
        load_bundle(saved.folder)


def test_a_missing_manifest_names_what_there_is(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "shipped", lambda: tmp_path)
    for name in ("nothing", str(tmp_path / "nothing"), tmp_path):
        with pytest.raises(BundleError, match=r"no readable bundle .*shipped: tiny"):
            load_bundle(name)


def test_a_shipped_bundle_is_found_by_name(saved, monkeypatch, tmp_path_factory):
    monkeypatch.setattr(loading, "shipped", lambda: saved.folder.parent)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert load_bundle("tiny") == saved


def test_shipped_bundles_lie_beside_the_code():
    assert shipped() == Path(thinwire.__file__).parent / "bundles"


@pytest.mark.parametrize(
    ("field", "value"),
    [("metric", "query"), ("metric", ""), ("weight", "mean"), ("weight", None), ("place", "mlp"), ("place", "Layer")],
)
def test_merging_refuses_what_no_engine_knows(field, value):
    with pytest.raises(BundleError, match=rf"merging\.{field} must be '.*, got {value!r}"):
        Merging(**{field: value})


@pytest.mark.parametrize("metric", ["value", "value_head", "key", "key_mean"])
@pytest.mark.parametrize("weight", ["norm", "size"])
@pytest.mark.parametrize("place", ["attention", "layer"])
def test_merging_takes_what_engines_know(metric, weight, place):
    assert Merging(metric, weight, True, place).place == place


def test_merging_by_default_is_the_papers():
    assert Merging() == Merging("value", "norm", False, "attention")
