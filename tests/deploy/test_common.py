"""What commands serve where nobody says it."""

from deploy.cli import common
from deploy.cli.common import DEFAULT_BUNDLE, DEFAULT_BUNDLES, SPOKEN, bundles_for_cloud
from thinwire.bundle import MANIFEST, completed_folder, read_bundle


def test_a_cloud_serves_what_it_has_packages_and_weights_for(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    installed = {"transformers": None, "av": object()}
    monkeypatch.setattr(common, "find_spec", installed.__getitem__)

    def tasks():
        return [read_bundle(name).task for name in bundles_for_cloud()]

    made = completed_folder(SPOKEN) / MANIFEST
    made.parent.mkdir(parents=True)
    made.touch()
    assert tasks() == ["classify", "classify"]
    installed["transformers"] = object()
    assert tasks() == ["classify", "classify", "vqa", "transcription"]
    installed["av"] = None
    assert tasks() == ["classify", "classify", "vqa"]
    installed["av"] = object()
    made.unlink()
    assert tasks() == ["classify", "classify", "vqa"]


def test_the_first_answers_where_no_model_is_named():
    assert DEFAULT_BUNDLES[0] == DEFAULT_BUNDLE == "cifar10"
