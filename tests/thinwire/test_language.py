"""What a manifest says of a language model: its forms, its digest, and that every file of it is vouched for."""

import dataclasses
import hashlib
import json

import pytest

from tests.thinwire.conftest import WEIGHTS
from tests.thinwire.test_bundle import edit
from thinwire.bundle import MANIFEST, Language, load_bundle
from thinwire.errors import BundleError

LANGUAGE = {"checkpoint": "llava", "revision": None, "prompt": "USER: <image>\n{question} ASSISTANT:"}


def asking(content):
    """The manifest of a bundle that answers questions."""
    return content | {"task": "vqa", "labels": [], "language": LANGUAGE}


def test_a_bundle_that_answers_questions(saved):
    edit(saved, asking)
    loaded = load_bundle(saved.folder)
    assert (loaded.task, loaded.labels, loaded.language) == ("vqa", (), Language(**LANGUAGE))
    loaded.save()
    assert load_bundle(saved.folder) == loaded
    for name, value in LANGUAGE.items():
        changed = dataclasses.replace(loaded.language, **{name: f"{value} or another"})
        assert dataclasses.replace(loaded, language=changed).digest != loaded.digest


@pytest.mark.parametrize("change", [{"task": "vqa", "labels": []}, {"language": LANGUAGE}])
def test_a_language_model_is_for_questions_and_for_nothing_else(saved, change):
    edit(saved, lambda content: content.update(change))
    with pytest.raises(BundleError, match=r"(language and no labels|labels and no language) and no speech"):
        load_bundle(saved.folder)


def test_a_bundle_that_classifies_does_not_speak_of_language(saved):
    assert "language" not in json.loads(saved.path(MANIFEST).read_text())
    # What is deployed keeps its digest.
    assert load_bundle("cifar10").digest == "7630a654b7259ab9eaea7bec555f8c71164363d41d0a201e69fd431cec3392b9"


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(labels=["cat"]),
        lambda content: content.update(split_layer=2),
        lambda content: content.update(language=None),
        lambda content: content.update(language={}),
        lambda content: content.update(language="llava"),
        lambda content: content["language"].update(surprise=1),
        lambda content: content["language"].pop("prompt") and None,
        lambda content: content["language"].update(checkpoint=""),
        lambda content: content["language"].update(checkpoint=None),
        lambda content: content["language"].update(checkpoint="../llava"),
        lambda content: content["language"].update(checkpoint="a\\..\\llava"),
        lambda content: content["language"].update(checkpoint="llava\0"),
        lambda content: content["language"].update(revision=1),
        lambda content: content["language"].update(prompt=None),
        lambda content: content["language"].update(prompt="<image>"),
        lambda content: content["language"].update(prompt="{question}"),
        lambda content: content["language"].update(prompt="{question} <image>"),
        lambda content: content["language"].update(prompt="<image> <image> {question}"),
        lambda content: content["language"].update(prompt="<image> {question} {question}"),
        lambda content: content["language"].update(prompt="{question} <image> {question}"),
    ],
)
def test_a_language_of_another_form(saved, change):
    edit(saved, lambda content: asking(content) | {"language": dict(LANGUAGE)})
    load_bundle(saved.folder)
    edit(saved, change)
    with pytest.raises(BundleError, match=r"impossible|incomplete"):
        load_bundle(saved.folder)


@pytest.mark.parametrize("checkpoint", ["llava", "llava-hf/llava-1.5-7b-hf", "/models/llava"])
def test_a_checkpoint_may_lie_elsewhere(saved, checkpoint):
    edit(saved, lambda content: asking(content) | {"language": LANGUAGE | {"checkpoint": checkpoint}})
    assert load_bundle(saved.folder).language.checkpoint == checkpoint


def test_every_file_of_the_language_model_is_vouched_for(saved):
    folder = saved.folder / "llava" / "deeper"
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(WEIGHTS)
    edit(saved, asking)
    with pytest.raises(BundleError, match=r"its manifest lists no llava/deeper/weights\.safetensors"):
        load_bundle(saved.folder)
    name = "llava/deeper/weights.safetensors"
    edit(saved, lambda content: content["files"].update({name: hashlib.sha256(WEIGHTS).hexdigest()}))
    load_bundle(saved.folder)
    (folder / "link").symlink_to(saved.folder.parent)
    with pytest.raises(BundleError, match="lists no llava/deeper/link"):
        load_bundle(saved.folder)
