"""The figures of the experiment on video streams, from runs made by hand."""

import numpy as np
import pytest

from experiments import registry
from experiments.video import experiment as video_experiment
from experiments.video.experiment import clustered, plan_of
from experiments.video.watching import PLAIN, UNMERGED, frame_id_of


def run_of(labels, score=0.6, policy="p", uses=10):
    """A run whose frames have these labels, "a" or "b"."""
    return [
        {
            "id": frame_id_of("clip", number),
            "scores": {label: score, "b" if label == "a" else "a": 1 - score},
            "policy": policy,
            "tokens": 2,
            "uses": uses,
        }
        for number, label in enumerate(labels)
    ]


def test_it_is_among_the_experiments():
    experiment = registry.load("video")
    assert experiment.name == "video"
    assert experiment.bundles == ("cifar10",)


def test_blocks_of_one_frame_are_independent_frames():
    values = np.random.default_rng(0).random(40)
    found = clustered(values, 1)
    assert found.value == pytest.approx(values.mean())
    assert found.se == pytest.approx(values.std(ddof=1) / 40**0.5)


def test_frames_of_a_block_count_as_one():
    means = np.random.default_rng(1).random(8)
    assert clustered(means.repeat(25), 25).se == pytest.approx(means.std(ddof=1) / 8**0.5)


def test_a_last_block_may_be_short():
    values = np.arange(7.0)
    residuals = np.array([0 + 1 + 2, 3 + 4 + 5, 6]) - 3.0 * np.array([3, 3, 1])
    assert clustered(values, 3).se == pytest.approx((np.square(residuals).sum() * 3 / 2) ** 0.5 / 7)


def test_agreement_is_with_the_unmerged_and_with_the_plain(monkeypatch):
    monkeypatch.setattr(video_experiment, "BLOCK", 1)
    runs = {UNMERGED: run_of("aabb"), PLAIN: run_of("aaaa", 0.9), "within 9": run_of("abbb", 0.7)}
    rows = {row["model"]: row for row in video_experiment._agreement("clip", runs)}
    assert rows[UNMERGED]["label of the unmerged, %"] is None
    assert rows[UNMERGED]["label of the plain model, %"].value == 50
    assert rows["within 9"]["label of the unmerged, %"].value == 75
    assert rows["within 9"]["label of the plain model, %"].value == 25
    # Of the unmerged's label: 0.7, 0.3, 0.7 and 0.7 where it has 0.6.
    assert rows["within 9"]["change of its score"].value == pytest.approx((0.1 + 0.3 + 0.1 + 0.1) / 4)
    assert [rows[name]["label changes"] for name in runs] == [1, 0, 1]
    assert (rows[PLAIN]["uses"], rows["within 9"]["uses"]) == (None, 10)


def test_a_switched_stream_is_held_against_each_policy_alone():
    labels = [UNMERGED, "half", "fifth", "twentieth"]
    plan = plan_of(labels, 9)
    assert plan == ["half"] * 3 + ["twentieth"] * 2 + ["fifth"] * 2 + [UNMERGED] * 2
    runs = {label: run_of("aaaaabbbb", policy=label) for label in labels}
    run = [runs[label][number] for number, label in enumerate(plan)]
    rows = video_experiment._segments("clip", run, plan, runs)
    assert [row["frames"] for row in rows] == ["0 to 2", "3 to 4", "5 to 6", "7 to 8"]
    assert [row["policy"] for row in rows] == ["half", "twentieth", "fifth", UNMERGED]
    assert {row["as the policy alone, %"] for row in rows} == {100.0}
    run[3] = run[3] | {"scores": {"a": 0.6 + 2e-4, "b": 0.4}}
    run[4] = run[4] | {"policy": "half"}
    assert video_experiment._segments("clip", run, plan, runs)[1]["as the policy alone, %"] == 0


def test_lost_and_repeated_frames_are_counted():
    run = run_of("aaaa")
    whole = video_experiment._whole("clip", run, 4, (4, 40))
    assert [whole[name] for name in ("sent", "answered", "different frames", "in their place")] == [4] * 4
    assert whole["uses answered"] == whole["uses at the channel"]
    repeated = video_experiment._whole("clip", [run[0], run[0], run[2]], 4, (5, 50))
    assert [repeated[name] for name in ("answered", "different frames", "in their place")] == [3, 2, 2]


def test_rates_are_held_against_the_unmerged():
    def figures(rate):
        return {"median_ms": 1000 / rate, "p95_ms": 2000 / rate, "frames_per_second": rate}

    by_label = {UNMERGED: [figures(rate) for rate in (10, 40, 20)], "p": [figures(rate) for rate in (30, 10, 50)]}
    _, row = video_experiment._timed("clip", {"one by one": by_label})
    assert row["one by one: frames/s"] == 30
    assert row["one by one: times the unmerged's"] == 1.5
    assert row["one by one: median, ms"] == pytest.approx(1000 / 30)
