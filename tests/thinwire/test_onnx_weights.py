"""Weights that lie beside an exported graph: in memory, mapped from a cache, and not as the graph says."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edge.onnx_engine import OnnxEngine
from offline.export.bundle import export_bundle
from policies.policy import Policy
from tests.parts import random_pixels
from thinwire import onnx_weights
from thinwire.bundle import file_sha256, load_bundle
from thinwire.errors import BundleError
from thinwire.exports import CLOUD, EDGE, PLAIN
from thinwire.onnx_session import OnnxSession
from thinwire.onnx_weights import with_weights

POLICY = Policy.create([0.5, 0.4, 0.3], 4)


@pytest.fixture(name="made", scope="module")
def made_fixture(tiny_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    shutil.copytree(tiny_bundle.folder, folder)
    return export_bundle(load_bundle(folder))


@pytest.fixture(name="bundle")
def bundle_fixture(made, tmp_path):
    """One whose files a test may change."""
    shutil.copytree(made.folder, tmp_path / "tiny")
    return load_bundle(tmp_path / "tiny")


@pytest.fixture(name="cache")
def cache_fixture(tmp_path, monkeypatch):
    """Where weights are mapped from, however small."""
    monkeypatch.setattr(onnx_weights, "LARGE", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "thinwire" / "weights"


def graph(bundle, name):
    return onnx.load(bundle.path(name), load_external_data=False)


def changed(bundle, name, change):
    """A bundle with another graph, for which its manifest vouches."""
    model = graph(bundle, name)
    change(next(tensor for tensor in model.graph.initializer if tensor.external_data))
    bundle.path(name).write_bytes(model.SerializeToString())
    bundle = replace(bundle, exports=bundle.exports | {name: file_sha256(bundle.path(name))})
    bundle.verify()
    return bundle


def located(**changes):
    def change(tensor):
        entries = {entry.key: entry.value for entry in tensor.external_data} | changes
        del tensor.external_data[:]
        for key, value in entries.items():
            if value is not None:
                tensor.external_data.add(key=key, value=value)

    return change


def symbols(bundle):
    return OnnxEngine.load(bundle).encode(random_pixels(1)[0], POLICY, 10.0).symbols


def test_a_graph_holds_no_weights_of_its_own(bundle):
    for name in (EDGE, CLOUD, PLAIN):
        held = [tensor for tensor in graph(bundle, name).graph.initializer if not tensor.external_data]
        # What is computed when it is exported, as the rates of the codec are.
        weights = [tensor for tensor in held if numpy_helper.to_array(tensor).dtype in (np.float16, np.float32)]
        assert sum(numpy_helper.to_array(tensor).size for tensor in weights) < 1000
        assert b"site-packages" not in bundle.path(name).read_bytes()


def test_a_graph_and_its_weights_are_what_any_reader_of_onnx_takes(bundle):
    for name in (EDGE, CLOUD, PLAIN):
        onnx.checker.check_model(bundle.path(name))


def test_mapped_weights_are_those_in_memory(bundle, cache, monkeypatch):
    mapped = symbols(bundle)
    (file,) = cache.iterdir()
    assert file.stat().st_mode & 0o077 == 0
    written = file.stat().st_mtime_ns
    np.testing.assert_array_equal(symbols(bundle), mapped)
    assert file.stat().st_mtime_ns == written
    monkeypatch.setattr(onnx_weights, "LARGE", 2**40)
    np.testing.assert_allclose(symbols(bundle), mapped, atol=1e-6)


@pytest.mark.parametrize("name", [EDGE, CLOUD, PLAIN])
def test_what_is_mapped_is_neither_cast_nor_transposed(bundle, cache, name):
    model = with_weights(bundle, name, bundle.exported(name).read_bytes())
    assert model.folder == cache
    rewritten = onnx.load_from_string(model.content)
    weights = {tensor.name for tensor in rewritten.graph.initializer if tensor.external_data}
    assert len(weights) > 10
    for node in rewritten.graph.node:
        assert node.op_type not in ("Cast", "Transpose") or not weights & set(node.input)
    # That takes care of everything: it runs.
    OnnxSession(bundle, name, bundle.exported(name).read_bytes())


@pytest.mark.parametrize("damage", [lambda content: content[:-70], lambda content: b"\1" + content[1:], lambda _: b""])
def test_a_damaged_cache_is_made_anew(bundle, cache, damage):
    expected = symbols(bundle)
    (file,) = cache.iterdir()
    content = file.read_bytes()
    file.write_bytes(damage(content))
    np.testing.assert_array_equal(symbols(bundle), expected)
    assert [one.read_bytes() for one in cache.iterdir()] == [content]


def test_what_nobody_uses_is_removed_when_something_is_written(bundle, cache, monkeypatch):
    day = 24 * 3600
    cache.mkdir(parents=True)

    def unused(name, age_s, size=1000):
        (cache / name).write_bytes(b"\0" * size)
        os.utime(cache / name, (time.time() - age_s,) * 2)

    unused("month.float32", 31 * day)
    unused("tmp-of-a-process-that-was-killed", 31 * day)
    unused("week.float32", 7 * day)
    (cache / "folder").mkdir()
    symbols(bundle)
    names = {path.name for path in cache.iterdir()}
    assert {"week.float32", "folder"} < names
    assert len(names) == 3
    (ours,) = names - {"week.float32", "folder"}
    # Used again, which is noted, though it was written long ago.
    os.utime(cache / ours, (time.time() - 40 * day,) * 2)
    symbols(bundle)
    assert time.time() - (cache / ours).stat().st_atime < day
    assert time.time() - (cache / ours).stat().st_mtime > 39 * day
    # Beyond the bound the longest unused goes first, and what another process may be about to map stays.
    unused("yesterday.float32", day)
    unused("now.float32", 60)
    content = (cache / ours).read_bytes()
    os.utime(cache / ours, (time.time() - 2 * day,) * 2)
    (cache / ours).write_bytes(content[:-1])
    os.utime(cache / ours, (time.time() - 2 * day,) * 2)
    monkeypatch.setattr(onnx_weights, "MOST_BYTES", len(content) + 2500)
    symbols(bundle)
    assert {path.name for path in cache.iterdir()} == {ours, "now.float32", "yesterday.float32", "folder"}
    assert (cache / ours).read_bytes() == content


def test_what_another_process_removes_at_once_is_no_matter(bundle, cache, monkeypatch):
    cache.mkdir(parents=True)
    (cache / "old.float32").write_bytes(b"")
    os.utime(cache / "old.float32", (0, 0))
    unlink = Path.unlink

    def twice(path, missing_ok=False):
        unlink(path)
        unlink(path)

    monkeypatch.setattr(Path, "unlink", twice)
    symbols(bundle)
    assert len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_done_without(bundle, cache, monkeypatch):
    expected = symbols(bundle)
    shutil.rmtree(cache)
    cache.write_text("no folder")
    np.testing.assert_allclose(symbols(bundle), expected, atol=1e-6)
    cache.unlink()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx_weights.os, "fsync", full)
    np.testing.assert_allclose(symbols(bundle), expected, atol=1e-6)
    assert list(cache.iterdir()) == []


def test_links_to_the_files_of_a_bundle_are_followed(bundle, cache, tmp_path, monkeypatch):
    """As in the cache of a hub, where the names of what they lead to are digests."""
    expected = symbols(bundle)
    (tmp_path / "blobs").mkdir()
    for name in ("backbone.safetensors", "encoder.safetensors", EDGE):
        blob = bundle.path(name).rename(tmp_path / "blobs" / file_sha256(bundle.path(name)))
        bundle.path(name).symlink_to(blob)
    linked = load_bundle(bundle.folder)
    np.testing.assert_array_equal(symbols(linked), expected)
    monkeypatch.setattr(onnx_weights, "LARGE", 2**40)
    np.testing.assert_allclose(symbols(linked), expected, atol=1e-6)


@pytest.mark.parametrize("large", [1, 2**40])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (located(location="../tiny/backbone.safetensors"), "has weights in '../tiny/backbone.safetensors', which its"),
        (located(location="/etc/passwd"), "has weights in '/etc/passwd', which its manifest does not list under files"),
        (located(location="policies.json"), "which its manifest does not list"),
        (located(location=None), "has weights in '', which"),
        (located(length=None), "does not state where in backbone.safetensors"),
        (located(offset="x"), "does not state where in backbone.safetensors"),
        (located(length="6"), "which is not 6 bytes in half precision"),
        (located(offset="-2"), "from byte -2 to"),
        (located(offset="999999999"), r"in backbone.safetensors from byte 999999999 to 1\d+; that has \d+ bytes$"),
        (lambda tensor: setattr(tensor, "data_type", 1), r"which is not \d+ bytes in half precision"),
        (lambda tensor: setattr(tensor, "name", "another"), "does not cast another to float32"),
    ],
)
def test_weights_that_are_not_where_a_graph_says_are_refused(bundle, cache, monkeypatch, large, change, message):
    monkeypatch.setattr(onnx_weights, "LARGE", large)
    with pytest.raises(BundleError, match=rf"^bundle tiny: edge.onnx .*{message}"):
        OnnxEngine.load(changed(bundle, EDGE, change))
    assert not cache.exists()


@pytest.mark.parametrize(
    ("change", "at_load", "later"),
    [
        (lambda path: path.unlink(), "backbone.safetensors is missing", "cannot be read: No such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:2000]), "was altered", r"to \d+; that has 2000 bytes"),
    ],
)
def test_weights_that_are_gone_or_short_are_told_before_anything_is_read(bundle, cache, change, at_load, later):
    change(bundle.path("backbone.safetensors"))
    with pytest.raises(BundleError, match=at_load):
        load_bundle(bundle.folder)
    with pytest.raises(BundleError, match=later):
        OnnxEngine.load(bundle)
    assert not cache.exists()


def test_an_export_that_holds_its_weights_is_still_read(bundle, cache):
    expected = symbols(bundle)
    model = onnx.load(bundle.path(EDGE))
    bundle.path(EDGE).write_bytes(model.SerializeToString())
    shutil.rmtree(cache)
    old = replace(bundle, exports=bundle.exports | {EDGE: file_sha256(bundle.path(EDGE))})
    old.verify()
    np.testing.assert_allclose(symbols(old), expected, atol=1e-6)
    assert not cache.exists()
