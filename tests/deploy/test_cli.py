"""The commands on a tiny bundle, in this process."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from deploy.cli.main import main
from policies.front import Front
from policies.fronts import Fronts
from policies.policy import Policy
from policies.store import Store
from policies.study import Study
from tests.parts import random_pixels
from thinwire.bundle import FRONT
from thinwire.channels import Channel


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
    measured = Fronts.load(tiny_bundle.path(FRONT), tiny_bundle.digest).policies[0]
    by_id = evaluate(capsys, tiny_bundle, data, "--policy", measured.policy.id)
    thresholds = [str(threshold) for threshold in measured.policy.thresholds]
    rate = str(measured.policy.symbols_per_token)
    given = evaluate(capsys, tiny_bundle, data, "--thresholds", *thresholds, "--symbols-per-token", rate)
    assert by_id.pop("policy") == measured.policy.id
    assert given.pop("policy") == "given"
    assert by_id == given
    assert by_id["tokens_mean"] < 25


def test_evaluate_tells_how_far_it_is(capsys, tiny_bundle, data, monkeypatch):
    monkeypatch.setattr("offline.measure.prepared.GROUP", 4)
    arguments = ["evaluate", "--bundle", str(tiny_bundle.folder), "--data", data, "--policy", "none"]
    assert main(arguments) == 0
    assert capsys.readouterr().err.splitlines() == ["14 images"]
    monkeypatch.setattr("deploy.cli.evaluate.REPORT_SECONDS", 0)
    assert main(arguments) == 0
    assert capsys.readouterr().err.splitlines() == ["14 images"] + [f"{done} of 14 images" for done in (4, 8, 12, 14)]


def test_evaluate_takes_a_limit_on_tokens(capsys, tiny_bundle, data):
    given = ("--thresholds", "0.5", "0.5", "0.5", "--symbols-per-token", "2")
    free = evaluate(capsys, tiny_bundle, data, *given)
    limited = evaluate(capsys, tiny_bundle, data, *given, "--max-tokens", "6")
    assert (free["max_tokens"], limited["max_tokens"]) == (None, 6)
    assert limited["policy_digest"] == Policy.create((0.5, 0.5, 0.5), 2, 6).digest != free["policy_digest"]
    measured = Fronts.load(tiny_bundle.path(FRONT), tiny_bundle.digest).policies[0]
    changed = evaluate(capsys, tiny_bundle, data, "--policy", measured.policy.id, "--max-tokens", "3")
    assert (changed["thresholds"], changed["max_tokens"]) == (list(measured.policy.thresholds), 3)


def test_evaluate_keeps_a_budget(capsys, tiny_bundle, data):
    fronts = Fronts.load(tiny_bundle.path(FRONT), tiny_bundle.digest)
    budget = min(measured.objectives.channel_uses_p95 for measured in fronts.policies)
    report = evaluate(capsys, tiny_bundle, data, "--budget-channel-uses", str(budget))
    assert 0 < report["channel_uses_max"] <= budget
    assert report["policy"] in {measured.policy.id for measured in fronts.policies}


def test_evaluate_keeps_a_budget_with_pilots_in_it(capsys, tiny_bundle, data):
    fronts = Fronts.load(tiny_bundle.path(FRONT), tiny_bundle.digest)
    budget = min(measured.objectives.channel_uses_p95 for measured in fronts.policies) + 4
    link = ("--channel", "rician:coherence=4,k_db=6", "--csi", "pilots:count=4", "--equaliser", "zf")
    report = evaluate(capsys, tiny_bundle, data, "--budget-channel-uses", str(budget), *link, "--snr-error", "-3")
    assert 4 < report["channel_uses_max"] <= budget
    assert [report[name] for name in ("channel", "csi", "equaliser")] == ["rician:coherence=4", "pilots:count=4", "zf"]
    assert (report["snr_db"], report["snr_error_db"]) == (10, -3)


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
        (["--channel", "pigeon"], "channel model must be one of awgn"),
        (["--channel", "erasure:share=2"], "share must be from 0 to 1, got 2"),
        (["--csi", "telepathy"], "csi must be perfect, none"),
    ],
)
def test_evaluate_says_what_is_wrong(capsys, tiny_bundle, data, arguments, message):
    assert main(["evaluate", "--bundle", str(tiny_bundle.folder), "--data", data, *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.fixture(name="two_fronts")
def two_fronts_fixture(tiny_bundle, tmp_path):
    """The tiny bundle with a second front: of its first policy, on a fading channel."""
    bundle = replace(tiny_bundle, folder=shutil.copytree(tiny_bundle.folder, tmp_path / "bundle"))
    (front,) = Fronts.load(bundle.path(FRONT), bundle.digest).fronts
    limited = Policy.create((0.5, 0.5, 0.5), 2, 6)
    fading = tuple(
        replace(front.policies[0], channel=Channel("rayleigh", 5.0), **changes)
        for changes in ({}, {"policy": limited, "sensitive_below_db": 2.5})
    )
    Fronts((front, Front(bundle.name, bundle.digest, fading))).save(bundle.path(FRONT))
    return bundle


def test_policies_list_and_show(capsys, two_fronts):
    folder = str(two_fronts.folder)
    assert main(["policies", "list", "--bundle", folder, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["channel"]["model"] for one in listed] == ["awgn"] * 3 + ["rayleigh"] * 2
    assert {"accuracy", "edge_gmacs", "channel_uses", "tokens"} <= set(listed[0]["objectives"])
    assert main(["policies", "show", listed[0]["id"], "--bundle", folder]) == 0
    assert json.loads(capsys.readouterr().out) == [listed[0], listed[3]]
    assert main(["policies", "show", "p-unknown", "--bundle", folder]) == 1
    capsys.readouterr()
    assert main(["policies", "list", "--bundle", folder]) == 0
    awgn, fading = capsys.readouterr().out.split("rayleigh at 5 dB")
    assert awgn.startswith("awgn at 10 dB\n")
    assert [listed[1]["id"] in text for text in (awgn, fading)] == [True, False]
    (row,) = [line for line in fading.splitlines() if line.startswith(listed[4]["id"])]
    assert {"6", "2.5"} <= set(row.split())


def test_policies_of_a_bundle_are_shown_without_the_packages_of_the_store(capsys, tiny_bundle, monkeypatch):
    policy = Fronts.load(tiny_bundle.path(FRONT), tiny_bundle.digest).policies[0].policy
    monkeypatch.setitem(sys.modules, "policies.store", None)
    assert main(["policies", "show", policy.id, "--bundle", str(tiny_bundle.folder)]) == 0
    assert json.loads(capsys.readouterr().out)[0]["id"] == policy.id


def test_policies_export_writes_fronts_that_serve(capsys, tiny_bundle, tmp_path):
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    shutil.copy(tiny_bundle.folder / "store.sqlite", tmp_path)
    with Store(url) as store:
        (study,) = store.studies()
        copied = {name: getattr(study, name) for name in ("bundle_name", "split", "data_digest", "seed", "versions")}
        first = store.trials(study)[0]
        for name, channel, digest in (
            ("fading", Channel("rayleigh", 10.0), study.bundle_digest),
            ("again", study.channel, study.bundle_digest),
            ("stranger", Channel("rayleigh", 10.0), "c" * 64),
        ):
            other = store.study(Study(name, channel=channel, bundle_digest=digest, **copied))
            store.add_trial(other, replace(first, channel=channel, bundle_digest=digest))

    def export(*arguments):
        return main(["policies", "export", "--store", url, *arguments])

    path = tmp_path / "policies.json"
    assert export("fading", "tiny", "--output", str(path)) == 0
    fronts = Fronts.load(path, tiny_bundle.digest)
    assert [front.channel.name for front in fronts.fronts] == ["awgn at 10 dB", "rayleigh at 10 dB"]
    served = {one.policy.id for one in Fronts.load(tiny_bundle.path(FRONT), tiny_bundle.digest).policies}
    assert {one.policy.id for one in fronts.policies} <= served
    assert f"{len(fronts.policies)} policies on 2 fronts in {path}" in capsys.readouterr().out
    assert export("tiny", "fading") == 0
    assert json.loads(capsys.readouterr().out) == fronts.to_json()
    for studies, message in (
        (("tiny", "other"), "no study 'other'"),
        (("tiny", "again"), "at most one front per channel"),
        (("tiny", "tiny"), "at most one front per channel"),
        (("tiny", "stranger"), "of one bundle"),
    ):
        path.unlink(missing_ok=True)
        assert export(*studies, "--output", str(path)) == 1
        assert message in capsys.readouterr().err
        assert not path.exists()


def test_policies_list_and_show_read_a_store(capsys, tiny_bundle):
    store = ["--store", f"sqlite:///{tiny_bundle.folder / 'store.sqlite'}"]
    assert main(["policies", "list", *store, "--json"]) == 0
    (study,) = json.loads(capsys.readouterr().out)
    assert (study["study"], study["strategy"], study["trials"], study["baselines"]) == ("tiny", "by hand", 3, 0)
    assert main(["policies", "list", *store]) == 0
    assert "awgn at 10 dB" in capsys.readouterr().out
    assert main(["policies", "list", "tiny", *store, "--json"]) == 0
    trials = json.loads(capsys.readouterr().out)
    assert [one["source"] for one in trials] == ["hand"] * 3
    assert main(["policies", "list", "tiny", *store]) == 0
    assert all(one["id"] in capsys_line for one, capsys_line in zip(trials, _rows(capsys), strict=True))
    assert main(["policies", "show", trials[0]["id"], *store]) == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["study"], shown["digest"]) == ("tiny", trials[0]["digest"])
    for arguments, message in (
        (["list", "tiny"], "of which store"),
        (["list", "other", *store], "no study 'other'"),
        (["show", "p-0", *store], "no study of the store measured"),
        (["list", "--store", f"sqlite:///{tiny_bundle.folder / 'none.sqlite'}"], "store_unavailable"),
    ):
        assert main(["policies", *arguments]) == 1
        assert message in capsys.readouterr().err


def _rows(capsys):
    return capsys.readouterr().out.splitlines()[1:]


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
