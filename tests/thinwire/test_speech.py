"""What a manifest says of a speech model: its forms, its digest, and that every file of it is vouched for."""

import dataclasses
import hashlib
import json

import pytest

from tests.thinwire.conftest import WEIGHTS
from tests.thinwire.test_bundle import edit
from thinwire.bundle import MANIFEST, Speech, load_bundle
from thinwire.errors import BundleError

SPEECH = {"checkpoint": "whisper", "revision": None, "sizes_in_logits": True}


def hearing(content):
    """The manifest of a bundle that writes down clips."""
    kept = {name: value for name, value in content.items() if name != "preprocessing"}
    return kept | {"task": "transcription", "labels": [], "split_layer": content["depth"], "speech": dict(SPEECH)}


def test_a_bundle_that_writes_down_clips(saved):
    edit(saved, hearing)
    loaded = load_bundle(saved.folder)
    assert (loaded.task, loaded.speech, loaded.preprocessing) == ("transcription", Speech(**SPEECH), None)
    loaded.save()
    assert "preprocessing" not in json.loads(saved.path(MANIFEST).read_text())
    assert load_bundle(saved.folder) == loaded
    for name, value in {"checkpoint": "other", "revision": "main", "sizes_in_logits": False}.items():
        changed = dataclasses.replace(loaded.speech, **{name: value})
        assert dataclasses.replace(loaded, speech=changed).digest != loaded.digest


def test_what_may_be_left_out(saved):
    least = {"checkpoint": "openai/whisper-tiny.en", "revision": None}
    edit(saved, lambda content: hearing(content) | {"speech": least})
    assert not load_bundle(saved.folder).speech.sizes_in_logits


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": ["cat"]}, "has speech and no labels and no language"),
        ({"speech": None}, "has speech and no labels and no language"),
        ({"task": "vqa"}, "has language and no labels and no speech"),
        ({"task": "classify", "labels": ["cat"]}, "has labels and no language and no speech"),
        ({"split_layer": 0}, "split_layer must be from"),
        ({"speech": {"checkpoint": "../whisper", "revision": None}}, r"speech\.checkpoint must name a folder"),
        ({"speech": {"checkpoint": "", "revision": None}}, r"speech\.checkpoint must be a text"),
        ({"speech": {"checkpoint": "whisper"}}, r"speech\.revision is missing"),
        ({"speech": SPEECH | {"surprise": 1}}, r"speech\.surprise is unknown"),
        ({"speech": SPEECH | {"sizes_in_logits": 1}}, r"speech\.sizes_in_logits must be"),
    ],
)
def test_a_bundle_of_another_form(saved, change, reason):
    edit(saved, lambda content: hearing(content) | change)
    with pytest.raises(BundleError, match=reason):
        load_bundle(saved.folder)


def test_preprocessing_is_of_images_and_images_need_it(saved):
    preprocessing = json.loads(saved.path(MANIFEST).read_text())["preprocessing"]
    edit(saved, lambda content: {name: value for name, value in content.items() if name != "preprocessing"})
    with pytest.raises(BundleError, match="preprocessing is missing"):
        load_bundle(saved.folder)
    edit(saved, lambda content: hearing(content) | {"preprocessing": preprocessing})
    with pytest.raises(BundleError, match="preprocessing is of images, and this bundle hears"):
        load_bundle(saved.folder)


def test_every_file_of_the_speech_model_is_vouched_for(saved):
    folder = saved.folder / "whisper"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(WEIGHTS)
    edit(saved, hearing)
    with pytest.raises(BundleError, match=r"its manifest lists no whisper/model\.safetensors"):
        load_bundle(saved.folder)
    listed = {"whisper/model.safetensors": hashlib.sha256(WEIGHTS).hexdigest()}
    edit(saved, lambda content: content["files"].update(listed))
    load_bundle(saved.folder)
