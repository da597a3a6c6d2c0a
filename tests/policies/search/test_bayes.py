"""The model by its own algebra, and what the search suggests with it."""

import numpy as np
import pytest
import torch
from botorch.acquisition.multi_objective import logei
from botorch.models.model_list_gp_regression import ModelListGP

from policies.pareto import hypervolume
from policies.policy import Policy
from policies.search import bayes
from policies.search.bayes import BayesianSearch, fit
from policies.search.known import observe
from policies.search.space import SearchSpace
from policies.search.strategy import ExhaustedError, RandomSearch, SobolSearch
from tests.policies.search import toy

ACQUISITIONS = ["qlognehvi", "ehvi"]
LAYERS = 2


@pytest.fixture(autouse=True)
def _cheaply(monkeypatch):
    """What holds of the search holds of a coarse one, which costs a tenth."""
    for name, value in {"DRAWS": 16, "RAW_POINTS": 24, "RESTARTS": 2, "ITERATIONS": 15}.items():
        monkeypatch.setattr(bayes, name, value)


@pytest.fixture(scope="module")
def trials():
    """Sobol points of a toy of two layers."""
    return played(SobolSearch(toy.space(LAYERS), 0), 14)


def played(strategy, evaluations, trials=()):
    trials = list(trials)
    while len(trials) < evaluations:
        trials.append(toy.measure(strategy.suggest(observed(trials), []).policy))
    return trials


def observed(trials):
    return observe(trials, toy.scale(LAYERS))


def data(n, variance):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(n, 3, generator=generator, dtype=torch.double)
    y = torch.stack([torch.sin(3 * x[:, 0]) + x[:, 1], x[:, 2] ** 2], 1)
    noise = variance.sqrt() * torch.randn(n, 2, generator=generator, dtype=torch.double)
    return x, y + noise, variance.expand(n, 2)


def matern(a, b, scales):
    distance = np.sqrt(5 * np.square((a[:, None] - b[None]) / scales).sum(-1))
    return (1 + distance + distance**2 / 3) * np.exp(-distance)


def test_the_posterior_mean_is_that_of_a_matern_process_with_the_measured_variances():
    x, y, variance = data(20, torch.tensor([0.04, 0.01], dtype=torch.double))
    # Not all alike, so that a model that ignores them or takes their mean is found out.
    variance = variance * torch.linspace(0.1, 4, 20, dtype=torch.double)[:, None]
    model = fit(x, y, variance)
    at = torch.rand(7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    with torch.no_grad():
        posterior = model.posterior(at)
    for index, one in enumerate(model.models):
        scales = bayes.length_scales(one).numpy()
        mean, spread = y[:, index].mean().item(), y[:, index].std().item()
        constant = one.mean_module.constant.item()
        targets = (y[:, index].numpy() - mean) / spread - constant
        noise = np.diag(variance[:, index].numpy() / spread**2)
        cross = matern(at.numpy(), x.numpy(), scales)
        gain = np.linalg.solve(matern(x.numpy(), x.numpy(), scales) + noise, cross.T)
        expected = mean + spread * (constant + gain.T @ targets)
        uncertainty = spread**2 * (1 - np.einsum("ij,ji->i", cross, gain))
        np.testing.assert_allclose(posterior.mean[:, index].numpy(), expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(posterior.variance[:, index].numpy(), uncertainty, rtol=1e-3, atol=1e-5)


def test_nearly_exact_data_is_interpolated():
    x, y, variance = data(20, torch.zeros(2, dtype=torch.double))
    model = fit(x, y, variance)
    with torch.no_grad():
        posterior = model.posterior(x)
    assert isinstance(model, ModelListGP)
    np.testing.assert_allclose(posterior.mean.numpy(), y.numpy(), atol=0.005)
    assert posterior.variance.max() < 2 * bayes.EXACT_VARIANCE


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
def test_no_two_suggested_points_coincide(acquisition, trials):
    strategy = BayesianSearch(toy.space(LAYERS), 3, seed=1, acquisition=acquisition)
    pending: list[Policy] = []
    tried = {one.policy for one in trials}
    for _ in range(3):
        suggestion = strategy.suggest(observed(trials), pending)
        assert suggestion.source == acquisition
        assert suggestion.policy not in tried
        tried.add(suggestion.policy)
        pending.append(suggestion.policy)
    points = np.stack([toy.space(LAYERS).point(policy) for policy in pending])
    for index in range(1, len(points)):
        # Pending points are part of the model, not merely left out: near them there is nothing left to gain.
        assert np.abs(points[:index] - points[index]).max(axis=1).min() > 0.01


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
def test_suggestions_follow_from_trials_and_seed_alone(acquisition, trials):
    pending = [Policy.create((0.3, 0.4), 8)]
    torch.manual_seed(1)
    first = BayesianSearch(toy.space(LAYERS), 3, seed=1, acquisition=acquisition)
    expected = first.suggest(observed(trials), pending)
    state = torch.random.get_rng_state()
    first.suggest(observed(trials[:12]), [])
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    again = BayesianSearch(toy.space(LAYERS), 3, seed=1, acquisition=acquisition)
    again.length_scales(observed(trials))
    assert again.suggest(observed(trials), pending) == expected
    assert first.suggest(observed(trials), pending) == expected


def test_relatives_of_a_few_thresholds_do_not_end_the_first_trials():
    space = toy.space(LAYERS)
    proposals = [one.policy for one in played(SobolSearch(space, 0), 3)]
    trials = [toy.measure(one) for policy in proposals for one in (policy, *space.relatives(policy))]
    assert len(trials) > 20
    strategy = BayesianSearch(space, 3, seed=0, start=4)
    fourth = strategy.suggest(observed(trials), [])
    assert (fourth.source, fourth.policy) == ("sobol", played(SobolSearch(space, 0), 4)[-1].policy)
    assert strategy.suggest(observed([*trials, toy.measure(fourth.policy)]), []).source == "qlognehvi"


def test_the_first_trials_are_a_sobol_sequence(trials):
    space = toy.space(LAYERS)
    strategy = BayesianSearch(space, 3, seed=0)
    start = 2 * (space.dimensions + 1)
    for number in range(start):
        assert strategy.suggest(observed(trials[:number]), []).policy == trials[number].policy
    assert strategy.suggest(observed(trials[:start]), []).source == "qlognehvi"
    # Nothing is known yet of what is pending.
    pending = [one.policy for one in trials[1:start]]
    assert strategy.suggest(observed(trials[:1]), pending).source == "sobol"


@pytest.mark.parametrize("acquisition", ACQUISITIONS)
def test_a_space_of_few_policies_is_tried_to_its_end(acquisition):
    space = SearchSpace.box([0.5], [0.5], [4, 8, 16])
    strategy = BayesianSearch(space, 3, seed=0, start=3, acquisition=acquisition)
    tried = []
    for _ in range(6):
        tried.append(strategy.suggest(observe([toy.measure(one) for one in tried], toy.scale()), []).policy)
    assert len(set(tried)) == 6
    with pytest.raises(ExhaustedError):
        strategy.suggest(observe([toy.measure(one) for one in tried], toy.scale()), [])


def test_it_beats_random_trials_at_equal_evaluations():
    evaluations = 24
    volumes = {
        name: hypervolume([one.utilities for one in observed(played(strategy, evaluations))])
        for name, strategy in {
            "qlognehvi": BayesianSearch(toy.space(LAYERS), 3, seed=0),
            "random": RandomSearch(toy.space(LAYERS), seed=0),
        }.items()
    }
    assert volumes["qlognehvi"] > 1.03 * volumes["random"]


def test_no_compiler_is_needed(trials, monkeypatch):
    def no_compiler(*args, **kwargs):
        raise AssertionError("BoTorch compiles its kernel")

    monkeypatch.setattr("torch.utils.cpp_extension.load", no_compiler)
    for acquisition in ACQUISITIONS:
        BayesianSearch(toy.space(LAYERS), 3, seed=1, acquisition=acquisition).suggest(observed(trials), [])
    assert logei._C is None


def test_length_scales_are_one_row_per_objective(trials):
    scales = BayesianSearch(toy.space(LAYERS), 3, seed=1).length_scales(observed(trials))
    assert scales.shape == (3, LAYERS + 2)
    assert (scales > 0).all()


def test_without_a_model_the_sequence_goes_on(trials, monkeypatch, caplog):
    def fails(*args):
        raise bayes.ModelFittingError("no attempt converged")

    monkeypatch.setattr(bayes, "fit", fails)
    suggestion = BayesianSearch(toy.space(LAYERS), 3, seed=1).suggest(observed(trials), [])
    assert suggestion.source == "sobol"
    assert "no attempt converged" in caplog.text
