"""Two bundles that classify, through the three processes: each request, each command and each figure names its own."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.cli.main import main
from deploy.ports import Ports
from deploy.testbed import LocalTestbed
from policies.front import Front
from policies.fronts import Fronts
from tests.e2e.peers import PICTURE, classify, frames_of, is_problem
from thinwire.bundle import FRONT, Bundle
from thinwire.client import Client
from thinwire.errors import IdTakenError, UnknownModelError


@pytest.fixture(scope="module")
def loud(shipped: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The shipped bundle under another name, with other labels and a third of its policies, and without its graphs."""
    folder = tmp_path_factory.mktemp("bundles") / "loud"
    shutil.copytree(shipped.folder, folder)
    labels = tuple(label.upper() for label in shipped.labels)
    bundle = replace(shipped, name="loud", labels=labels, exports={}, folder=folder)
    bundle.save()
    fronts = Fronts.load(shipped.path(FRONT), shipped.digest).fronts
    ours = [tuple(replace(one, bundle_digest=bundle.digest) for one in front.policies[::3]) for front in fronts]
    Fronts(tuple(Front(bundle.name, bundle.digest, policies) for policies in ours)).save(bundle.path(FRONT))
    return bundle


@pytest.fixture(scope="module")
def both(shipped: Bundle, loud: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTestbed]:
    folders = [shipped.name, str(loud.folder)]
    with LocalTestbed(folders, Ports.free(), log_folder=tmp_path_factory.mktemp("logs")) as testbed:
        yield testbed


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    path.write_bytes(PICTURE)
    return path


def test_a_client_names_its_model(both: LocalTestbed, shipped: Bundle, loud: Bundle) -> None:
    # The cloud's plain model is chosen likewise.
    for url in (both.edge_url, both.cloud_url):
        with Client(url) as client:
            for model, bundle in ((None, shipped), (shipped.name, shipped), (loud.name, loud)):
                assert client.classify(PICTURE, model=model).label in bundle.labels
    with Client(both.edge_url) as client:
        answers = list(client.stream([PICTURE] * 2, model=loud.name))
        assert {answer.label for answer in answers} <= set(loud.labels)
        count = len(client.policies(loud.name))
        assert 0 < count < len(client.policies()) == len(client.policies(shipped.name))
        with pytest.raises(
            UnknownModelError, match="no model 'soft' for the task 'classify' here; there is cifar10, loud"
        ):
            client.classify(PICTURE, model="soft")


def test_commands_name_their_model(
    both: LocalTestbed, shipped: Bundle, loud: Bundle, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = ["--url", both.edge_url, "--json"]
    for model, bundle in (([], shipped), (["--model", "loud"], loud)):
        assert main(["classify", str(picture), *model, *url]) == 0
        (answer,) = json.loads(capsys.readouterr().out)
        assert answer["outputs"][0]["label"] in bundle.labels
        assert main(["stream", str(picture), *model, *url]) == 0
        seen = json.loads(capsys.readouterr().out.splitlines()[0])
        assert seen["outputs"][0]["label"] in bundle.labels
    assert main(["classify", str(picture), "--model", "soft", *url]) == 1
    assert "there is cifar10, loud" in capsys.readouterr().err


def test_a_key_is_of_one_model(both: LocalTestbed, loud: Bundle) -> None:
    key = "5e" * 16
    with Client(both.edge_url) as client:
        first = client.classify(PICTURE, id=key)
        again = client.classify(PICTURE, model="cifar10", id=key)
        assert (again.id, again.outputs) == (first.id, first.outputs)
        with pytest.raises(IdTakenError):
            client.classify(PICTURE, model=loud.name, id=key)
    assert is_problem(classify(both.edge_url, key, model=loud.name), 409, "id_taken")


def test_lines_of_frames_tell_their_bundle(both: LocalTestbed, loud: Bundle) -> None:
    name = "6f" * 16
    assert classify(both.edge_url, name, model=loud.name).status_code == 200
    for process in ("edge", "cloud"):
        (line,) = [line for line in frames_of(both, process) if line["request_id"] == name]
        assert line["bundle"] == "loud"


def test_two_of_one_name_are_refused_before_anything_starts(
    shipped: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(shipped.folder, tmp_path / "copy")
    for command in (["up"], ["edge", "serve"], ["cloud", "serve"], ["demo"]):
        assert main([*command, "--bundle", "cifar10", str(tmp_path / "copy")]) == 1
        told = capsys.readouterr().err
        assert "must have different names, got 'cifar10'" in told
        assert str(tmp_path / "copy") in told
