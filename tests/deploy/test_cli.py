"""The commands on a tiny bundle, in this process."""

import json

import numpy as np
import pytest
from PIL import Image

from deploy.cli.main import main
from policies.front import Front
from tests.parts import random_pixels
from thinwire.bundle import FRONT


@pytest.fixture(name="data", scope="module")
def data_fixture(tmp_path_factory):
    """A folder of 14 images of the tiny bundle's seven classes."""
    folder = tmp_path_factory.mktemp("data")
    for index, pixels in enumerate(random_pixels(14, seed=3)):
        (folder / "abcdefg"[index % 7]).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / "abcdefg"[index % 7] / f"{index}.png")
    return str(folder)


def evaluate(capsys, bundle, data, *arguments):
    assert main(["evaluate", "--bundle", str(bundle.folder), "--data", data, "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_evaluate_unmerged(capsys, tiny_bundle, data):
    report = evaluate(capsys, tiny_bundle, data, "--policy", "none")
    reference = tiny_bundle.reference
    assert report["n"] == 14
    assert (report["tokens_mean"], report["tokens_sd"], report["capped_share"]) == (25, 0, 0)
    assert report["channel_uses_mean"] == report["channel_uses_max"] == 25 * reference.symbols_per_token
    assert report["cbr"] == pytest.approx(report["channel_uses_mean"] / (20 * 20 * 3))
    assert report["edge_gmacs_mean"] == pytest.approx(report["edge_gmacs_unmerged"])
    assert report["accuracy_se"] == pytest.approx((report["accuracy"] * (1 - report["accuracy"]) / 14) ** 0.5)


def test_evaluate_a_policy_by_id_and_by_its_thresholds_is_the_same(capsys, tiny_bundle, data):
    measured = Front.load(tiny_bundle.path(FRONT), tiny_bundle.digest).policies[0]
    by_id = evaluate(capsys, tiny_bundle, data, "--policy", measured.policy.id)
    thresholds = [str(threshold) for threshold in measured.policy.thresholds]
    rate = str(measured.policy.symbols_per_token)
    given = evaluate(capsys, tiny_bundle, data, "--thresholds", *thresholds, "--symbols-per-token", rate)
    assert by_id.pop("policy") == measured.policy.id
    assert given.pop("policy") == "given"
    assert by_id == given
    assert by_id["tokens_mean"] < 25


def test_evaluate_keeps_a_budget(capsys, tiny_bundle, data):
    front = Front.load(tiny_bundle.path(FRONT), tiny_bundle.digest)
    budget = min(measured.objectives.channel_uses_p95 for measured in front.policies)
    report = evaluate(capsys, tiny_bundle, data, "--budget-channel-uses", str(budget))
    assert 0 < report["channel_uses_max"] <= budget
    assert report["policy"] in {measured.policy.id for measured in front.policies}


def test_evaluate_is_repeatable_and_obeys_the_seed(capsys, tiny_bundle, data):
    first = evaluate(capsys, tiny_bundle, data, "--snr", "-5", "--channel", "rayleigh", "--seed", "1")
    assert first == evaluate(capsys, tiny_bundle, data, "--snr", "-5", "--channel", "rayleigh", "--seed", "1")
    bypassed = evaluate(capsys, tiny_bundle, data, "--channel", "none", "--limit", "7")
    assert (bypassed["n"], bypassed["snr_db"]) == (7, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--policy", "p-unknown"], "unknown_policy"),
        (["--budget-channel-uses", "1"], "budget_not_met"),
        (["--thresholds", "0.5", "--symbols-per-token", "2"], "expected 3 thresholds"),
        (["--thresholds", "0.5", "0.5", "0.5"], "needs --symbols-per-token"),
    ],
)
def test_evaluate_says_what_is_wrong(capsys, tiny_bundle, data, arguments, message):
    assert main(["evaluate", "--bundle", str(tiny_bundle.folder), "--data", data, *arguments]) == 1
    assert message in capsys.readouterr().err


def test_policies_list_and_show(capsys, tiny_bundle):
    assert main(["policies", "list", "--bundle", str(tiny_bundle.folder), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == 3
    assert {"accuracy", "edge_gmacs", "channel_uses", "tokens"} <= set(listed[0]["objectives"])
    assert main(["policies", "show", listed[0]["id"], "--bundle", str(tiny_bundle.folder)]) == 0
    assert json.loads(capsys.readouterr().out) == listed[0]
    assert main(["policies", "list", "--bundle", str(tiny_bundle.folder)]) == 0
    assert listed[1]["id"] in capsys.readouterr().out


def test_policies_export_writes_a_front_that_serves(capsys, tiny_bundle, tmp_path):
    store = f"sqlite:///{tiny_bundle.folder / 'store.sqlite'}"
    assert main(["policies", "export", "--store", store]) == 0
    assert "tiny  3 policies" in capsys.readouterr().out
    assert main(["policies", "export", "tiny", "--store", store, "--output", str(tmp_path / "front.json")]) == 0
    front = Front.load(tmp_path / "front.json", tiny_bundle.digest)
    served = {measured.policy.id for measured in Front.load(tiny_bundle.path(FRONT), tiny_bundle.digest).policies}
    assert {measured.policy.id for measured in front.policies} <= served
    assert main(["policies", "export", "other", "--store", store]) == 1


def test_bundle_info_and_verify(capsys, tiny_bundle, tmp_path):
    assert main(["bundle", "info", "--bundle", str(tiny_bundle.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == tiny_bundle.digest
    assert main(["bundle", "verify", "--bundle", str(tiny_bundle.folder)]) == 0
    for path in tiny_bundle.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "decoder.safetensors"
    content = np.frombuffer(weights.read_bytes(), dtype=np.uint8).copy()
    content[-1] ^= 1
    weights.write_bytes(content.tobytes())
    assert main(["bundle", "verify", "--bundle", str(tmp_path)]) == 1
    assert "decoder.safetensors was altered" in capsys.readouterr().err


def test_an_unknown_bundle_is_told(capsys):
    assert main(["bundle", "info", "--bundle", "nothing"]) == 1
    assert "invalid_bundle" in capsys.readouterr().err


def test_classify_without_a_server_is_told(capsys, tmp_path):
    (tmp_path / "image").write_bytes(b"x")
    assert main(["classify", str(tmp_path / "image"), "--url", "http://127.0.0.1:9"]) == 1
    assert "unavailable: no answer from" in capsys.readouterr().err
