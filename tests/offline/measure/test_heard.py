"""Speech in the evaluator, against a plain loop over single clips and against transformers."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from channel.models.registry import get
from channel.realisation import apply, keyed_generator
from deploy.cli.main import main
from offline.data.utterances import load_utterances
from offline.measure import studies, workers
from offline.measure.baselines import Baselines
from offline.measure.box import QUANTILES, SILENCE, search_space
from offline.measure.evaluator import BYPASS, LINK_ID, Evaluator, request_id_of
from offline.measure.heard import TranscriptJudge
from offline.measure.inputs import inputs_of
from offline.measure.meter import PolicyMeter
from offline.measure.studies import Plan, search
from offline.measure.transcripts import digit_errors, error_rate
from offline.measure.workers import Task
from policies.policy import Policy
from policies.store import Store
from tests.speech_evaluation import POSITIONS, make_parts, make_utterances, write_recordings, write_spoken_bundle
from thinwire.audio import log_mel
from thinwire.channels import Channel
from thinwire.equalise import receive
from thinwire.errors import InvalidRequestError
from thinwire.nn.merging.matching import above

POLICY = Policy.create([0.95, 0.97, 0.96], 4)


@pytest.fixture(name="bundle", scope="module")
def bundle_fixture(tmp_path_factory):
    return write_spoken_bundle(tmp_path_factory.mktemp("bundles") / "tiny-speech")


@pytest.fixture(name="recordings", scope="module")
def recordings_fixture(tmp_path_factory):
    return write_recordings(tmp_path_factory.mktemp("spoken") / "digits.tar")


@pytest.fixture(name="evaluator", scope="module")
def evaluator_fixture():
    bundle, engine, transcriber = make_parts()
    utterances = make_utterances()
    return Evaluator(bundle, engine, TranscriptJudge(transcriber, utterances), utterances)


def test_it_is_the_loop_over_single_clips(evaluator):
    channel, cap = Channel("rayleigh", 5.0), 4 * 8
    measured = evaluator.measure_policy(POLICY, channel, seed=2, max_channel_uses=cap)
    texts = []
    for index, one in enumerate(evaluator.images.utterances):
        encoded = evaluator.engine.encode(log_mel(one.audio, 8, POSITIONS), POLICY, 5.0, cap)
        generator = keyed_generator(2, LINK_ID, request_id_of(one.name), 0)
        drawn = get("rayleigh").draw(encoded.symbols.shape, 5.0, generator)
        arrived = receive(apply(encoded.symbols, drawn), complex(drawn.gain), float(drawn.noise_variance))
        texts += evaluator.judge.texts(evaluator.judge.transcriber.hear_frames([arrived]))
        assert measured.right[index] == 6 - digit_errors(one.digits, texts[-1])
        assert measured.uses[index] == encoded.symbols.size <= cap
        assert (measured.tokens[index], measured.capped[index]) == (len(encoded.symbols), encoded.capped)
        assert measured.edge_gmacs[index] == encoded.edge_gmacs < evaluator.unmerged_gmacs()
    assert len(set(texts)) > len(texts) / 3
    assert 0 < measured.capped.mean() < 1


def test_a_transcript_is_as_long_as_its_utterance_may_say(evaluator, monkeypatch):
    told = []
    transcriber = evaluator.judge.transcriber
    write = transcriber.transcribe

    def listening(utterances):
        told.extend(one.heard.seconds for one in utterances)
        return write(utterances)

    monkeypatch.setattr(transcriber, "transcribe", listening)
    evaluator.measure_policy(POLICY, Channel("awgn", 5.0), seed=0)
    assert sorted(told) == sorted(evaluator.images.seconds)


def test_accuracy_is_one_less_the_error_rate(evaluator):
    measured = evaluator.measure_policy(POLICY, BYPASS, seed=0)
    errors = (measured.asked - measured.right).tolist()
    expected = error_rate(errors, measured.asked.tolist())
    assert measured.accuracy == pytest.approx(1 - expected.rate)
    # Of a sample, and not of all that there are.
    assert measured.accuracy_se * (12 / 11) ** 0.5 == pytest.approx(expected.se)


@torch.inference_mode()
def test_without_a_channel_and_merging_it_is_transformers_own(evaluator):
    measured = evaluator.measure_policy(Policy.unmerged(3, 4), BYPASS, seed=0)
    speech = evaluator.judge.transcriber.speech
    for index, one in enumerate(evaluator.images.utterances):
        features = torch.from_numpy(log_mel(one.audio, 8, POSITIONS))[None]
        # Otherwise it hears again what stands behind a timestamp.
        ids = speech.model.generate(features, max_new_tokens=22, force_unique_generate_call=True)
        text = speech.tokenizer.decode(ids[0], skip_special_tokens=True)
        assert measured.right[index] == 6 - digit_errors(one.digits, text)
    assert measured.edge_gmacs[0] == pytest.approx(evaluator.unmerged_gmacs())


def test_an_accuracy_below_zero_is_kept_and_searched_on(evaluator):
    meter = PolicyMeter(evaluator, (Channel("awgn", 10.0),), seed=0, snrs_db=(0.0,))
    measured = meter.measure(POLICY)[0]
    assert measured.objectives.accuracy < 0
    assert type(measured).from_json(measured.to_json()) == measured


def test_the_box_is_of_what_is_left_of_the_silence(evaluator):
    images = evaluator.images.even_sample(3)
    space = search_space(evaluator.engine, images)
    front, first, second = (np.array(axis) for axis in space.axes)
    # A third of these windows is silence.
    assert (front >= SILENCE).mean() > 0.3
    assert {*front[front >= SILENCE]} == {SILENCE, 1}
    seen = []

    def rule(best):
        seen.append(best[best.isfinite()].double().numpy())
        return best > 2

    evaluator.engine.transform(inputs_of(images, evaluator.engine), [above(SILENCE), rule, None])
    np.testing.assert_allclose(first[:-1], np.minimum(np.quantile(seen[0], QUANTILES), SILENCE)[:-1], atol=1e-6)
    assert first[-1] == second[-1] == 1


def test_its_baselines_are_those_that_keep_the_order(evaluator):
    meter = PolicyMeter(evaluator, (Channel("awgn", 10.0),), seed=0)
    families = {one.family for one in Baselines(meter).candidates()}
    assert families == {"unmerged", "pooled-token", "one-threshold", "one-threshold-limited"}


def evaluate(capsys, bundle, data, *arguments):
    assert main(["evaluate", "--bundle", str(bundle.folder), "--data", data, "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command(capsys, bundle, recordings):
    report = evaluate(capsys, bundle, recordings, "--policy", "none", "--limit", "5")
    assert (report["n"], report["digits"], report["tokens_mean"]) == (5, 30, POSITIONS)
    assert report["error_rate"] == pytest.approx(1 - report["accuracy"])
    assert report["edge_gmacs_mean"] == pytest.approx(report["edge_gmacs_unmerged"])
    assert report["channel_uses_max"] == report["channel_uses_mean"] == 4 * POSITIONS
    # Of a pause and a digit of 50 to 62 ms each.
    assert 5 * (5 * 0.2 + 6 * 0.05) <= report["seconds_of_audio"] <= 5 * (5 * 0.2 + 6 * 0.062)
    assert not report.keys() & {"cbr", "questions"}
    given = ("--thresholds", "0.95", "0.9", "0.9", "--symbols-per-token", "2", "--channel", "none")
    merged = evaluate(capsys, bundle, recordings, *given)
    assert merged["n"] == 2 * 40 // 6
    assert merged["edge_gmacs_mean"] < report["edge_gmacs_mean"]
    assert merged["channel_uses_mean"] == pytest.approx(2 * merged["tokens_mean"])
    assert merged["tokens_mean"] < POSITIONS


@pytest.mark.data
def test_the_command_on_recorded_digits(capsys, tmp_path):
    path = Path(os.environ.get("THINWIRE_DATA", "")) / "digits-test.tar"
    if not path.is_file():
        pytest.skip("THINWIRE_DATA names no folder with digits-test.tar")
    bundle = write_spoken_bundle(tmp_path / "long", positions=400)
    report = evaluate(capsys, bundle, str(path), "--policy", "none", "--limit", "4")
    utterances = load_utterances(str(path))
    assert len(utterances) == 250
    assert (report["n"], report["digits"]) == (4, 24)
    assert report["seconds_of_audio"] == pytest.approx(utterances.seconds[:4].sum())
    assert np.all((utterances.seconds > 2) & (utterances.seconds < 8))
    assert len({one.speaker for one in utterances.utterances}) == 5


def test_the_wrong_data_is_one_line(capsys, bundle, tmp_path):
    (tmp_path / "class").mkdir()
    assert main(["evaluate", "--bundle", str(bundle.folder), "--data", str(tmp_path)]) != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected an uncompressed tar of recordings" in line


def test_a_policy_without_the_merge_in_front_is_refused(capsys, bundle, recordings):
    given = ["--thresholds", "0.9", "0.9", "--symbols-per-token", "2"]
    assert main(["evaluate", "--bundle", str(bundle.folder), "--data", recordings, *given]) != 0
    assert "expected 3 thresholds, one per layer before the split and one in front" in capsys.readouterr().err


def test_a_search_leaves_a_front_with_the_merge_in_front_among_its_thresholds(bundle, tmp_path, monkeypatch):
    def in_process(task, processes):
        monkeypatch.setattr(workers, "_meter", task.meter(), raising=False)
        return ThreadPoolExecutor(1)

    monkeypatch.setattr(studies, "pool", in_process)
    task = Task(bundle.folder, make_utterances(4), "select", (Channel("awgn", 10.0),), seed=0)
    with Store(f"sqlite:///{tmp_path / 'store.sqlite'}") as store:
        (study,) = search(store, ["spoken"], task, Plan("sobol", max_loss=20.0), 3)
        front = store.front(study).policies
    assert front
    assert all(len(one.policy.thresholds) == 3 for one in front)


def test_clips_longer_than_the_window_are_refused():
    bundle, engine, transcriber = make_parts()
    utterances = make_utterances(2)
    object.__setattr__(utterances.utterances[1], "audio", np.zeros(24_001, np.float32))
    with pytest.raises(InvalidRequestError, match="expected up to 24000 samples, got 24001"):
        Evaluator(bundle, engine, TranscriptJudge(transcriber, utterances), utterances)
