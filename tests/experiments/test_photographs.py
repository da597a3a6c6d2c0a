"""Pages of another bundle than the shipped ones: one of tiny photographs, whose head reads class token and patches."""

import json

import pytest

from deploy.cli.main import main
from offline.measure.evaluator import Evaluator
from tests.e2e.loopback import write_tiny_bundle
from tests.experiments.tiny_data import write_images

PAGES = ("profile", "tradeoff", "snr", "split", "budget-time")


@pytest.fixture(name="found", scope="module")
def found_fixture(tmp_path_factory):
    """The pages, and the arguments that made them."""
    folder = tmp_path_factory.mktemp("photographs")
    options = {"global_pool": "token+avg"}
    bundle = write_tiny_bundle(folder / "photos", "photos", **options)
    write_tiny_bundle(folder / "photos-middle", "photos-middle", 2, **options)
    write_images(folder, "photos", bundle.labels, 20, 20, 2)
    arguments = ["reproduce", *PAGES, "--bundle", str(folder / "photos"), "--quick", "--data", str(folder),
                 "--work", str(folder / "work"), "--output", str(folder / "pages")]  # fmt: skip
    assert main(arguments) == 0
    return {page: json.loads((folder / f"pages/{page}-photos.json").read_text()) for page in PAGES}, arguments


def rows(content, title):
    return next(table["rows"] for table in content["tables"] if table["title"].startswith(title))


def test_what_was_measured_is_not_measured_again(found, monkeypatch, capsys):
    pages, arguments = found
    monkeypatch.setattr(Evaluator, "transform", None)
    assert main([*arguments, "--again", "--against", arguments[-1]]) == 0
    assert capsys.readouterr().out.count("agrees with what is there") == len(PAGES)
    assert pages["snr"]["bundles"].keys() == {"photos"}
    assert pages["split"]["bundles"].keys() == {"photos", "photos-middle"}


def test_every_family_stands_beside_ours_and_its_difference_is_paired(found):
    content = found[0]["tradeoff"]
    families = {"searched", "unmerged", "one-threshold", "one-threshold-limited", "tome", "tome-limited", "random",
                "down-sampled", "pooled-token", "class-token", "logits", "label", "jpeg"}  # fmt: skip
    table = rows(content, "Within equal losses")
    assert {row["family"] for row in table} == families
    ours = {row["within, on *select*"]: row for row in table if row["family"] == "searched"}
    compared = 0
    for row in table:
        our, less = ours[row["within, on *select*"]], row["less ours, points"]
        assert (less is None) == (row["family"] == "searched" or None in (row["tokens"], our["tokens"]))
        if less is not None:
            compared += 1
            assert less["value"] == pytest.approx(row["accuracy, %"]["value"] - our["accuracy, %"]["value"])
            assert less["low"] <= less["value"] <= less["high"]
    assert compared
    regime = rows(content, "Least compute and tokens together")
    assert {row["family"] for row in regime} == families
    assert next(row for row in regime if row["family"] == "unmerged")["tokens, %"] == 100


def test_a_smaller_photograph_and_random_patches_stand_in_the_profile(found):
    table = rows(found[0]["profile"], "What it costs")
    sent = {row["merging"]: row["tokens sent"] for row in table}
    assert sent["50% of the patches, at random"] == 12 + 1
    assert sent["photograph of 4 x 4 patches"] == 16 + 1


def test_the_split_in_the_middle_leaves_a_layer_to_the_cloud(found):
    last, middle = rows(found[0]["split"], "What each split asks")
    assert (last["split"], middle["split"]) == ("after layer 3 of 3", "after layer 2 of 3")
    assert middle["cloud GMACs"] > last["cloud GMACs"]


def test_the_device_computes_less_under_smaller_budgets(found):
    plain, unmerged, *others = rows(found[0]["budget-time"], "Batch 1")
    assert plain["policy"] is None
    assert unmerged["policy"] == "none"
    assert others
    for row in (unmerged, *others):
        assert 0 < row["ms"]["low"] <= row["ms"]["value"] <= row["ms"]["high"]
        assert row["edge GMACs"] <= unmerged["edge GMACs"]
        assert row["tokens"] <= unmerged["tokens"]
