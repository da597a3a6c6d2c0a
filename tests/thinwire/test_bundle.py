"""A bundle keeps what both ends must agree on: any change of it shows in the digest, any damage on loading."""

import dataclasses
import hashlib
import json
import math
import os

import pytest

from thinwire import bundle as bundle_module
from thinwire.bundle import (
    FRONT,
    MANIFEST,
    SCHEMA_VERSION,
    Bundle,
    Codec,
    Language,
    Merging,
    Reference,
    file_sha256,
    load_bundle,
    shipped,
)
from thinwire.errors import BundleError
from thinwire.images import Preprocessing

WEIGHTS = b"\x00weights\xff" * 100


def make_bundle(folder, **changes):
    values = {
        "name": "tiny",
        "task": "classify",
        "model": {"kwargs": {"embed_dim": 24, "depth": 3}, "stem": [[8, 1], [16, 1]]},
        "split_layer": 3,
        "depth": 3,
        "width": 24,
        "patches": 25,
        "prefix_tokens": 0,
        "labels": ("cat", "naïve", "犬"),
        "preprocessing": Preprocessing(20, 0.875, "bicubic", (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)),
        "merging": Merging(),
        "codec": Codec(hidden=32, max_symbols_per_token=8, rates=(1, 2, 4, 8), snr_db=(-5.0, 20.0)),
        "files": {"weights.safetensors": hashlib.sha256(WEIGHTS).hexdigest()},
        "reference": Reference(4, 104, 0.75, 0.01, 2000, 10.0),
        "folder": folder,
    }
    return Bundle(**values | changes)


@pytest.fixture(name="saved")
def saved_fixture(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(WEIGHTS)
    bundle = make_bundle(folder)
    bundle.save()
    return bundle


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


def test_the_digest_is_the_sha256_of_the_manifest_without_its_reference(saved):
    content = json.loads(saved.path(MANIFEST).read_text())
    assert content.pop("schema_version") == SCHEMA_VERSION
    del content["reference"]
    assert "folder" not in content
    text = json.dumps({"schema_version": SCHEMA_VERSION, **content}, sort_keys=True)
    assert saved.digest == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("reference", [None, Reference(8, 208, 0.8, 0.02, 500, 10.0)])
def test_the_digest_does_not_know_the_reference_nor_the_folder(saved, tmp_path, reference):
    assert make_bundle(tmp_path, reference=reference).digest == saved.digest


def test_a_new_front_keeps_the_digest(saved):
    saved.path(FRONT).write_text("{}")
    assert load_bundle(saved.folder).digest == saved.digest


CHANGES = {
    "name": "tinier",
    "task": "vqa",
    "model": {"kwargs": {"embed_dim": 24, "depth": 4}, "stem": [[8, 1], [16, 1]]},
    "split_layer": 2,
    "depth": 4,
    "width": 48,
    "patches": 26,
    "prefix_tokens": 1,
    "labels": ("naïve", "cat", "犬"),
    "preprocessing.size": 24,
    "preprocessing.crop": 0.9,
    "preprocessing.interpolation": "bilinear",
    "preprocessing.mean": (0.4, 0.5, 0.3),
    "preprocessing.std": (0.25, 0.2, 0.2),
    "merging.metric": "key",
    "merging.weight": "size",
    "merging.proportional_attention": True,
    "merging.place": "layer",
    "codec.hidden": 33,
    "codec.max_symbols_per_token": 16,
    "codec.rates": (1, 2, 4),
    "codec.snr_db": (-5.0, 15.0),
    "codec.encoder": "attention",
    "files": {"weights.safetensors": "0" * 64},
    "language": Language("llava", None, "<image> {question}"),
}


def all_fields():
    """Every field that the digest must know, as a path; from the classes, so that none is forgotten."""
    nested = {"preprocessing": Preprocessing, "merging": Merging, "codec": Codec}
    for field in dataclasses.fields(Bundle):
        if field.name in nested:
            yield from (f"{field.name}.{inner.name}" for inner in dataclasses.fields(nested[field.name]))
        elif field.name not in {"folder", "reference", "exports"}:
            yield field.name


@pytest.mark.parametrize("path", list(all_fields()))
def test_any_other_change_shows_in_the_digest(saved, path):
    name, _, inner = path.partition(".")
    value = CHANGES[path]
    if inner:
        value = dataclasses.replace(getattr(saved, name), **{inner: value})
    changed = dataclasses.replace(saved, **{name: value})
    assert changed != saved
    assert changed.digest != saved.digest


def test_a_file_more_shows_in_the_digest(saved):
    assert dataclasses.replace(saved, files=saved.files | {"b": "0" * 64}).digest != saved.digest


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
    if field in {"reference", "language", "exports"}:
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
    monkeypatch.setattr(bundle_module, "shipped", lambda: tmp_path)
    for name in ("nothing", str(tmp_path / "nothing"), tmp_path):
        with pytest.raises(BundleError, match=r"no readable bundle .*shipped: tiny"):
            load_bundle(name)


def test_a_shipped_bundle_is_found_by_name(saved, monkeypatch, tmp_path_factory):
    monkeypatch.setattr(bundle_module, "shipped", lambda: saved.folder.parent)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert load_bundle("tiny") == saved


def test_shipped_bundles_lie_beside_the_code():
    assert shipped() == bundle_module.Path(os.path.dirname(bundle_module.__file__)) / "bundles"


@pytest.mark.parametrize(
    ("field", "value"),
    [("metric", "query"), ("metric", ""), ("weight", "mean"), ("weight", None), ("place", "mlp"), ("place", "Layer")],
)
def test_merging_refuses_what_no_engine_knows(field, value):
    with pytest.raises(BundleError, match=rf"merging\.{field} must be one of .*, got {value!r}"):
        Merging(**{field: value})


@pytest.mark.parametrize("metric", ["value", "value_head", "key", "key_mean"])
@pytest.mark.parametrize("weight", ["norm", "size"])
@pytest.mark.parametrize("place", ["attention", "layer"])
def test_merging_takes_what_engines_know(metric, weight, place):
    assert Merging(metric, weight, True, place).place == place


def test_merging_by_default_is_the_papers():
    assert Merging() == Merging("value", "norm", False, "attention")
