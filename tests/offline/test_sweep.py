"""The sweep on a tiny bundle: its points, its resumption, and what it writes down."""

import numpy as np
import pytest

from offline.data import LabelledImages
from offline.evaluate import Evaluator
from offline.recipe import SweepRecipe, load_recipe
from offline.sweep import Sweep, similarity_quantiles, sobol_thresholds, staircase_thresholds, sweep
from policies.policy import Policy
from policies.record import ChannelProfile
from policies.store import Store
from tests.parts import make_classifier, make_engine, random_pixels
from thinwire.errors import InvalidRequestError

OPTIONS = {"class_token": False, "global_pool": "avg"}
RECIPE = SweepRecipe(vectors=2, images=20, snr_db=10.0, front_snrs_db=(0.0, 10.0))


@pytest.fixture(name="evaluator")
def evaluator_fixture():
    engine, classifier = make_engine(**OPTIONS), make_classifier(**OPTIONS)
    labels = np.random.default_rng(0).integers(0, 7, 30)
    images = LabelledImages(tuple(f"i/{i}" for i in range(30)), random_pixels(30), labels, engine.bundle.labels)
    return Evaluator(engine.bundle, engine, classifier, images, batch=16)


def test_a_threshold_at_a_quantile_merges_the_rest(evaluator):
    quantiles = similarity_quantiles(evaluator.engine, evaluator.images)
    assert quantiles.shape[0] == 3
    assert (np.diff(quantiles, axis=1) >= 0).all()
    middle = quantiles[0, quantiles.shape[1] // 2]
    transformed = evaluator.transform([lambda best: best > middle, None, None])
    left = np.concatenate([batch.counts[:, 1].numpy() for batch in transformed])
    # Half of the 12 sources of each image, on average.
    assert 25 - left.mean() == pytest.approx(6, abs=0.2)


def test_points_lie_in_the_box_and_come_back_with_their_seed():
    quantiles = np.stack([np.linspace(0.1, 0.5, 41), np.linspace(-0.2, 0.9, 41)])
    points = np.array(sobol_thresholds(quantiles, 64, seed=3))
    assert points.shape == (64, 2)
    merging = points < 1
    assert ((points >= quantiles[:, 0]) & ((points <= quantiles[:, -1]) | ~merging)).all()
    assert 0 < (~merging).sum() < 20
    assert points.tolist() == [list(point) for point in sobol_thresholds(quantiles, 64, seed=3)]
    assert points.tolist() != [list(point) for point in sobol_thresholds(quantiles, 64, seed=4)]


def test_a_staircase_merges_in_its_last_layers_only():
    quantiles = np.stack([np.linspace(0.0, 0.4, 41)] * 4)
    steps = staircase_thresholds(quantiles)
    assert len(steps) == len(set(steps)) == 3 * 4
    for step in steps:
        merging = [threshold < 1 for threshold in step]
        assert merging == sorted(merging)
        assert len({threshold for threshold in step if threshold < 1}) == 1
    assert steps[0] == (1.0, 1.0, 0.0, 0.0)


def test_a_sweep_that_was_cut_off_goes_on_without_repeating(evaluator, tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    policies = [Policy.create([threshold] * 3, rate) for threshold in (0.2, 0.5, 1.0) for rate in (1, 4)]
    measured = []
    measure = Sweep._measure

    def counting(self, policy, *arguments):
        if len(measured) == 4:
            raise KeyboardInterrupt
        measured.append(policy)
        return measure(self, policy, *arguments)

    monkeypatch.setattr(Sweep, "_measure", counting)
    with Store(url) as store:
        run = Sweep(evaluator, store, ChannelProfile("awgn", 10.0), 0)
        study = run.study("cut")
        with pytest.raises(KeyboardInterrupt):
            run.run(study, policies)
    measured_before = list(measured)
    measured.clear()
    with Store(url) as store:
        run = Sweep(evaluator, store, ChannelProfile("awgn", 10.0), 0)
        run.run(run.study("cut"), policies)
        assert measured == policies[4:]
        assert measured_before == policies[:4]
        assert [trial.policy for trial in store.trials(run.study("cut"))] == policies


def test_what_is_stored_is_what_the_evaluator_measures_under_the_cap(evaluator, tmp_path):
    with Store(f"sqlite:///{tmp_path / 'store.sqlite'}") as store:
        front = sweep(evaluator.images, evaluator, store, RECIPE, seed=5)
    assert front.policies
    for measured in front.policies:
        cap = measured.objectives.channel_uses_p95
        again = evaluator.measure_policy(measured.policy, ChannelProfile("awgn", 10.0), 5, cap)
        assert again.objectives() == measured.objectives
        assert again.uses.max() <= cap
        uncapped = evaluator.measure_policy(measured.policy, ChannelProfile("awgn", 10.0), 5)
        assert (uncapped.uses <= cap).mean() >= 0.95
        assert (uncapped.uses <= cap - measured.policy.symbols_per_token).mean() < 0.95
        assert [snr_db for snr_db, _, _ in measured.accuracy_by_snr] == [0.0, 10.0]
        assert measured.accuracy_by_snr[1][1] == measured.objectives.accuracy
        assert measured.provenance["data_digest"] == evaluator.images.digest()


def test_the_shipped_recipe_loads_and_an_unknown_one_is_told():
    recipe = load_recipe("cifar10")
    assert recipe.sweep.vectors >= 64
    assert recipe.split_layer == recipe.model["kwargs"]["depth"]
    with pytest.raises(InvalidRequestError, match="no readable recipe nothing"):
        load_recipe("nothing")
