"""The whole of it, quickly, on a tiny bundle and recordings that are made here."""

from argparse import Namespace
from dataclasses import replace

import numpy as np
import pytest

from experiments.harness.setting import Setting
from experiments.registry import load
from experiments.speech import experiment
from experiments.speech.choices import UNMERGED, ways_of
from experiments.speech.plain import same_transcripts
from experiments.speech.ways import Way, measure
from offline.measure.evaluator import BYPASS, Evaluator
from offline.measure.heard import TranscriptJudge
from offline.measure.meter import PolicyMeter
from policies.front import Front
from policies.fronts import Fronts
from policies.policy import Policy
from tests.speech_evaluation import make_parts, make_utterances, write_recordings, write_spoken_bundle
from thinwire.bundle import FRONT
from thinwire.channels import Channel

AWGN = Channel("awgn", 10.0)


@pytest.fixture(name="evaluator", scope="module")
def evaluator_fixture():
    bundle, engine, transcriber = make_parts(positions=100)
    utterances = make_utterances(9)
    return Evaluator(bundle, engine, TranscriptJudge(transcriber, utterances), utterances)


@pytest.fixture(name="setting", scope="module")
def setting_fixture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech")
    bundle = write_spoken_bundle(folder / "tiny-speech", positions=100)
    write_recordings(folder / "digits-test.tar")
    options = Namespace(bundle=str(bundle.folder), limit=None)
    (folder / "kept").mkdir()
    return Setting("speech", folder, folder / "kept", quick=True, options=options)


def test_the_whole_window_is_what_the_evaluator_measures(evaluator):
    policy = Policy.create([0.95, 0.97, 0.96], 2, 8)
    (found,) = measure(evaluator, Way(policy), [AWGN], seed=1)
    expected = evaluator.measure_policy(policy, AWGN, 1)
    assert found["errors"] == (expected.asked - expected.right).tolist()
    assert found["tokens"] == expected.tokens.tolist()
    assert found["uses"] == expected.uses.tolist()
    np.testing.assert_allclose(found["gmacs"], expected.edge_gmacs)


@pytest.mark.parametrize("fields", [{"margin_s": 0.2}, {"margin_s": 0.0, "is_gated": True}, {"pooled": 4}])
def test_clips_of_other_lengths_get_what_they_get_alone(evaluator, fields):
    way = Way(Policy.create([1.0, 0.97, 0.96], 2), **fields)
    together = measure(evaluator, way, [BYPASS, AWGN], seed=1)
    for index in (0, 4, 7):
        few = evaluator.images.take(np.array([index]))
        judge = TranscriptJudge(evaluator.judge.transcriber, few)
        alone = measure(Evaluator(evaluator.bundle, evaluator.engine, judge, few), way, [BYPASS, AWGN], seed=1)
        for one, other in zip(together, alone, strict=True):
            assert {name: values[index] for name, values in one.items()} == pytest.approx(
                {name: values[0] for name, values in other.items()}
            )
    assert together[0]["uses"] == [0] * len(evaluator.images)
    assert max(together[1]["tokens"]) < 100


def test_transcripts_are_transformers_own(evaluator):
    assert same_transcripts(evaluator, 5) == {"same": 5, "of": 5}


def test_a_quick_run_and_what_it_keeps(setting, monkeypatch):
    report = experiment.run(setting)
    titles = [table.title for table in report.tables]
    assert titles[:2] == ["Without a channel", "AWGN at 10 dB"]
    bare, sent = report.tables[0].rows, report.tables[1].rows
    assert bare[0]["sent"] == UNMERGED
    assert (bare[0]["tokens"], bare[0]["uses"], bare[0]["of the unmerged, %"]) == (100, 0, 100)
    assert bare[0]["less the unmerged model's"] is None
    assert [row["sent"] for row in sent] == [*(row["sent"] for row in bare), experiment.OPUS, experiment.TEXT]
    assert sent[0]["uses"] == 4 * 100
    opus, text = sent[-2:]
    assert opus["edge GMACs"] == 0 < bare[0]["edge GMACs"] < text["edge GMACs"]
    assert all(row["uses"] > 0 for row in sent)
    assert "3 of 3 transcripts" in report.remarks[0]
    # A second run computes nothing.
    for name in ("measure", "opus", "text", "same_transcripts"):
        monkeypatch.setattr(experiment, name, lambda *_: pytest.fail("measured again"))
    assert experiment.run(setting).to_json() == report.to_json()


def test_policies_come_from_the_front(evaluator, tmp_path):
    meter = PolicyMeter(evaluator, (AWGN,), 0)
    policies = [Policy.create(row, 2) for row in ([1.0, 0.97, 0.96], [0.9, 1.0, 1.0])]
    measured = []
    for policy, change in zip(policies, (0.1, -9.0), strict=True):
        one = meter.measure(policy)[0]
        figures = replace(one.objectives, accuracy_change=change, accuracy_change_se=0.01)
        measured.append(replace(one, objectives=figures))
    bundle = replace(evaluator.bundle, folder=tmp_path)
    Fronts((Front(bundle.name, bundle.digest, tuple(measured)),)).save(bundle.path(FRONT))
    ways, main = ways_of(bundle, quick=False)
    assert next(iter(ways)) == UNMERGED
    # The one that loses nothing is the best of both kinds.
    best = next(way for label, way in ways.items() if "fewest uses = least compute" in label)
    assert best.policy == policies[0]
    silence = Policy.create([0.999, 1.0, 1.0], ways[UNMERGED].policy.symbols_per_token)
    assert {way.policy for way in ways.values()} == {*policies, silence, ways[UNMERGED].policy}
    assert set(main) <= ways.keys()
    assert ways["own length + 5 s, unmerged"] == Way(ways[UNMERGED].policy, 5.0)


def test_without_its_bundle_it_is_left_out(tmp_path):
    missing = load("speech").missing(tmp_path, ["--bundle", "nowhere"])
    assert len(missing) == 1
    assert missing[0].startswith("a bundle: no readable bundle nowhere")
