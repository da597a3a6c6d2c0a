"""Searches of a tiny bundle, in processes of their own: they resume, and what they find is kept as it was measured."""

import json
from dataclasses import replace

import numpy as np
import pytest

import offline.measure.studies
from deploy.cli.main import main
from offline.data.images import LabelledImages
from offline.measure.box import search_space, similarity_quantiles
from offline.measure.evaluator import Evaluator
from offline.measure.studies import Plan, channel_of, check_merging, front_policies, search, sweep
from offline.measure.workers import Task
from policies.policy import Policy
from policies.search.space import SearchSpace
from policies.store import Store
from tests.parts import make_engine, random_pixels
from thinwire.bundle import load_bundle
from thinwire.channels import Channel
from thinwire.errors import InvalidRequestError, StoreError
from thinwire.records import read

IMAGES = 30


def images_of(bundle, count=IMAGES):
    labels = np.random.default_rng(0).integers(0, len(bundle.labels), count)
    return LabelledImages(tuple(f"i/{i}" for i in range(count)), random_pixels(count), labels, bundle.labels)


@pytest.fixture(name="task")
def task_fixture(tiny_bundle):
    return Task(tiny_bundle.folder, images_of(tiny_bundle), "select", (Channel("awgn", 10.0),), seed=3)


@pytest.fixture(name="store")
def store_fixture(tmp_path):
    with Store(f"sqlite:///{tmp_path / 'store.sqlite'}") as store:
        yield store


@pytest.fixture(name="in_process")
def in_process_fixture(monkeypatch):
    """Measures in threads of this process: what the pool does is tested once, and takes seconds to start."""
    from concurrent.futures import ThreadPoolExecutor

    from offline.measure import workers

    def pool(task, processes):
        monkeypatch.setattr(workers, "_meter", task.meter(), raising=False)
        return ThreadPoolExecutor(1)

    monkeypatch.setattr(offline.measure.studies, "pool", pool)


def watch_transforms(monkeypatch):
    """What the layers are run with from now on, one entry for each run over all images."""
    transformed, transform = [], Evaluator.transform

    def watched(self, rules):
        transformed.append(rules)
        return transform(self, rules)

    monkeypatch.setattr(Evaluator, "transform", watched)
    return transformed


def test_a_search_that_was_cut_off_goes_on_to_the_same_trials(task, store, in_process):
    plan = Plan("sobol")
    whole = store.trials(search(store, ["whole"], task, plan, 8)[0])
    search(store, ["cut"], task, plan, 3)
    seen = []
    (study,) = search(store, ["cut"], task, plan, 8, report=seen.append)
    assert [one.evaluations for one in seen] == [4, 5, 6, 7, 8]
    assert store.trials(study) == whole
    assert len({trial.policy for trial in whole}) == 8
    assert [trial.source for trial in store.trial_log(study)] == ["sobol"] * 8
    assert all(trial.seconds > 0 for trial in store.trial_log(study))


def test_a_device_without_layers_or_with_one_patch_leaves_nothing_to_search(task, store, monkeypatch):
    check_merging(1, 4)
    bundle = load_bundle(task.bundle)
    for changes, says in (
        ({"split_layer": 0}, "split_layer: expected a layer or more in which tokens merge, got 0"),
        ({"patches": 1}, "patches: expected two patches or more of an image, to be merged, got 1"),
    ):
        monkeypatch.setattr(
            offline.measure.studies, "load_bundle", lambda _, changes=changes: replace(bundle, **changes)
        )
        with pytest.raises(InvalidRequestError, match=says):
            search(store, ["none"], task, Plan("sobol"), 8)
    assert not store.studies()


def test_processes_measure_what_this_one_measures(task, store):
    meter = task.meter()
    found = store.trials(search(store, ["two"], task, Plan("random"), 6, processes=2)[0])
    assert len(found) == 6
    for measured in found:
        assert meter.measure(measured.policy)[0].objectives == measured.objectives


def test_a_study_keeps_what_it_began_with(task, store, in_process):
    (study,) = search(store, ["s"], task, Plan("sobol", ("accuracy", "tokens", "latency_ms")), 2)
    settings = study.settings
    assert settings["scale"]["names"] == ["accuracy", "tokens", "latency_ms"]
    # Measured once: another time on the clock must not change the scale.
    assert settings["reference_ms"] == settings["scale"]["worst"][2] > 0
    assert all(one.objectives.latency_ms > 0 for one in store.trials(study))
    (again,) = search(store, ["s"], task, Plan("sobol", ("accuracy", "tokens", "latency_ms")), 3)
    assert again.settings == settings
    with pytest.raises(StoreError, match="settings"):
        search(store, ["s"], task, Plan("random", ("accuracy", "tokens", "latency_ms")), 3)


def test_a_given_box_bounds_the_thresholds(task, store, in_process):
    (study,) = search(store, ["s"], task, Plan("random", box=(0.7, 0.9)), 12)
    thresholds = {t for one in store.trials(study) for t in one.policy.thresholds}
    assert all(0.7 <= one <= 0.9 or one == 1.0 for one in thresholds)
    assert read(SearchSpace, study.settings["space"]).axes == ((0.7, 0.9),) * 3
    with pytest.raises(InvalidRequestError, match="a box must rise"):
        search(store, ["t"], task, Plan("random", box=(0.9, 0.7)), 1)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan("tabu"), "no strategy 'tabu'"),
        (Plan("sobol", ("accuracy", "beauty")), "different objectives of accuracy"),
        (Plan("sobol", ("accuracy",)), "two or more"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(task, store, plan, message):
    with pytest.raises(InvalidRequestError, match=message):
        search(store, ["s"], task, plan, 1)


def test_a_sweep_measures_fronts_on_channels_and_does_not_repeat_itself(
    tiny_bundle, task, store, in_process, monkeypatch
):
    found = search(store, ["found"], task, Plan("sobol"), 6)
    policies = front_policies(store, found)
    others = [Policy(one.thresholds, rate, one.max_tokens) for one in policies for rate in (2, 4)]
    policies = list(dict.fromkeys((*policies, *others)))
    transformed = watch_transforms(monkeypatch)
    channels = (Channel("awgn", 0.0), Channel("rayleigh", 10.0))
    wide = Task(tiny_bundle.folder, task.images, "select", channels, 3, snrs_db=(0.0, 5.0))
    steps = list(sweep(store, "front", wide, policies[:1]))
    assert [step[:2] for step in steps] == [(0, 1), (1, 1)]
    *_, (done, wanted, studies) = sweep(store, "front", wide, policies)
    assert done == wanted == len(policies)
    assert [study.name for study in studies] == ["front-awgn-0", "front-rayleigh-10"]
    assert len(transformed) == 1 + len({policy.thresholds for policy in policies})
    for study, channel in zip(studies, channels, strict=True):
        trials = store.trials(study)
        assert {one.policy for one in trials} == set(policies)
        assert all(one.channel == channel for one in trials)
        assert all({0.0, 5.0} <= {point.snr_db for point in one.accuracy_by_snr} for one in trials)


def test_channels_share_the_layers_and_rates_and_limits_come_along(tiny_bundle, task, store, in_process, monkeypatch):
    monkeypatch.setattr(offline.measure.studies, "COSTLY_GMACS", 0.0)
    channels = (Channel("awgn", 0.0), Channel("rayleigh", 10.0))
    wide = replace(task, channels=channels)
    transformed = watch_transforms(monkeypatch)
    studies = search(store, ["a", "b"], wide, Plan("sobol"), 3)
    assert len(transformed) == 3
    assert [study.channel for study in studies] == list(channels)
    meter = wide.meter()
    for number, study in enumerate(studies):
        trials = store.trials(study)
        assert len({one.policy.thresholds for one in trials}) == 3
        for rate in tiny_bundle.codec.rates:
            assert len({one.policy.thresholds for one in trials if one.policy.symbols_per_token == rate}) == 3
        assert len({one.policy.max_tokens for one in trials}) > 3
        for measured in (trials[0], trials[5], trials[-1]):
            again = meter.measure(measured.policy)[number]
            assert again.objectives == measured.objectives
    done = len(transformed)
    assert search(store, ["a", "b"], wide, Plan("sobol"), 3) == studies
    assert len(transformed) == done


def test_the_box_follows_the_similarities():
    engine = make_engine(class_token=False, global_pool="avg")
    images = images_of(engine.bundle)
    quantiles = similarity_quantiles(engine, images)
    assert (np.diff(quantiles, axis=1) >= 0).all()
    middle = quantiles[0, quantiles.shape[1] // 2]
    counts = engine.transform(images.pixels, [lambda best: best > middle, None, None]).counts[:, 1].numpy()
    # Half of the 12 sources of each image, on average.
    assert 25 - counts.mean() == pytest.approx(6, abs=0.2)
    space = search_space(engine, images)
    assert space.rates == engine.bundle.codec.rates
    assert space.limits == (1, 2, 3, 4, 6, 8, 12, 16, 24, None)
    # A class token can do alone.
    assert search_space(make_engine(), images).limits[0] == 1
    assert search_space(make_engine(class_token=True, global_pool="avg"), images).limits[0] == 2


@pytest.mark.parametrize(
    "text", ["awgn", "awgn:", "awgn:ten", "awgn:nan", "awgn:-9000", "smoke:10", ":10", "awgn:10:3"]
)
def test_a_channel_that_is_none_is_told(text):
    with pytest.raises(InvalidRequestError, match=r"awgn|snr_db must be from -30 to 60"):
        channel_of(text)


def test_a_channels_parameters_may_stand_between_name_and_snr():
    assert channel_of("awgn:-5") == Channel("awgn", -5.0)
    assert channel_of("rician:coherence=4,k_db=6:7.5") == Channel("rician:coherence=4", 7.5)


def test_the_command_searches_resumes_and_tells(tiny_bundle, tmp_path, monkeypatch, capsys, in_process):
    monkeypatch.setattr("offline.data.images.load", lambda *_, **__: images_of(tiny_bundle))
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    common = ["policies", "search", "mine", "--bundle", str(tiny_bundle.folder), "--data", "x", "--store", url]
    options = [*common, "--split", "test", "--strategy", "qlognehvi", "--json", "--images", "20"]
    assert main([*options, "--evaluations", "2"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["trials"] == 2
    assert main([*options, "--evaluations", "3"]) == 1
    assert "--resume goes on with it" in capsys.readouterr().err
    assert main([*options, "--evaluations", "3", "--resume"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)[0]["trials"] == 3
    assert "3/3 hypervolume" in told.err
    assert main([*options, "--evaluations", "3", "--resume", "--seed", "1"]) == 1
    assert "seed is 0, got 1" in capsys.readouterr().err
