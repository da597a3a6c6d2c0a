"""The digest that both ends compare: any change of what they must agree on shows in it."""

import dataclasses
import hashlib
import json

import pytest

from tests.thinwire.conftest import make_bundle
from thinwire.bundle import (
    BACKBONE,
    FRONT,
    MANIFEST,
    SCHEMA_VERSION,
    Bundle,
    Codec,
    Language,
    Merging,
    Reference,
    Speech,
    load_bundle,
)
from thinwire.images import Preprocessing


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
    "preprocessing.fit": "squash",
    "merging.metric": "key",
    "merging.weight": "size",
    "merging.proportional_attention": True,
    "merging.place": "layer",
    "merging.neighbours": 3,
    "merging.front": True,
    "merging.front_rounds": 5,
    "codec.hidden": 33,
    "codec.max_symbols_per_token": 16,
    "codec.rates": (1, 2, 4),
    "codec.snr_db": (-5.0, 15.0),
    "codec.encoder": "attention",
    "files": {"weights.safetensors": "0" * 64},
    "language": Language("llava", None, "<image> {question}"),
    "speech": Speech("whisper", None),
}


def all_fields():
    """Every field that the digest must know, as a path; from the classes, so that none is forgotten."""
    nested = {"preprocessing": Preprocessing, "merging": Merging, "codec": Codec}
    for field in dataclasses.fields(Bundle):
        if field.name in nested:
            yield from (f"{field.name}.{inner.name}" for inner in dataclasses.fields(nested[field.name]))
        elif field.name not in {"folder", "reference", "exports", "backbone"}:
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


def test_who_lends_the_backbone_does_not_show_in_the_digest_but_which_weights_do(saved):
    own = dataclasses.replace(saved, files=saved.files | {BACKBONE: "0" * 64})
    lent = dataclasses.replace(own, backbone="lender")
    assert lent.digest == own.digest
    assert dataclasses.replace(lent, files=lent.files | {BACKBONE: "1" * 64}).digest != own.digest


def test_a_manifest_of_before_there_were_neighbours_keeps_its_digest(saved):
    content = json.loads(saved.path(MANIFEST).read_text())
    assert content["merging"].keys() == {"metric", "weight", "proportional_attention", "place"}
    in_time = dataclasses.replace(saved, merging=Merging(neighbours=3, front=True, front_rounds=7))
    in_time.save()
    assert load_bundle(saved.folder).merging == in_time.merging
    assert load_bundle(saved.folder).digest == in_time.digest


def test_a_file_more_shows_in_the_digest(saved):
    assert dataclasses.replace(saved, files=saved.files | {"b": "0" * 64}).digest != saved.digest
