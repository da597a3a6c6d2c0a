"""Multi-objective Bayesian optimisation, by BoTorch."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.multi_objective import logei
from botorch.exceptions.errors import ModelFittingError
from botorch.exceptions.warnings import BotorchWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models.gp_regression import SingleTaskGP
from botorch.models.model_list_gp_regression import ModelListGP
from botorch.models.transforms.outcome import Standardize
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from botorch.optim.optimize import optimize_acqf
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning
from gpytorch.mlls import SumMarginalLogLikelihood
from gpytorch.utils.warnings import GPInputWarning, NumericalWarning
from linear_operator.utils.errors import NanError, NotPSDError
from numpy.typing import NDArray
from torch import Tensor

from policies.policy import Policy
from policies.search.space import SearchSpace
from policies.search.strategy import Observation, Suggestion, first_new, start_points

log = logging.getLogger(__name__)

Acquisition = Literal["qlognehvi", "ehvi"]
# A variance for what is exact: a Gaussian process needs some, and a thousandth of the scale is below any interest.
EXACT_VARIANCE = 1e-6
# Draws of the posterior for the acquisition; its optimisation: points to choose the starts from, starts, steps.
DRAWS = 32
RAW_POINTS = 128
RESTARTS = 4
ITERATIONS = 50

# BoTorch would compile a kernel in C++ when it is first used: 40 s, a warning where there is no compiler, and other
# digits on every machine (-march=native), so that a search resumed elsewhere would go another way. It has no option;
# this is its own mark of having tried.
logei._load_attempted = True


class BayesianSearch:
    """A Gaussian process per objective, and the expected gain of hypervolume over the noisy front so far.

    The kernel is Matern-5/2 with a length scale per coordinate under BoTorch's dimension-scaled prior. Measured
    variances go into the model, so that a lucky trial does not pass for a good one. The acquisition is qLogNEHVI
    (Daulton et al., 2021; Ament et al., 2023), which integrates over what the front may truly be. "ehvi" is the
    expected hypervolume improvement that the paper names: it takes what was observed for the truth, as if the data had
    no noise.

    Args:
        space: where to search.
        objectives: how many there are.
        seed: of the first points and of all sampling.
        start: vectors of thresholds of a Sobol sequence before the first model.
        acquisition: what to maximise.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: int,
        seed: int,
        start: int | None = None,
        acquisition: Acquisition = "qlognehvi",
    ) -> None:
        self.space = space
        self._seed = seed
        self._start = 2 * (space.dimensions + 1) if start is None else start
        self._acquisition = acquisition
        self._reference = torch.zeros(objectives, dtype=torch.double)

    def suggest(self, observed: Sequence[Observation], pending: Sequence[Policy]) -> Suggestion:
        """See `policies.search.strategy.Strategy`."""
        number = len(observed) + len(pending)
        # What shares its thresholds says little of a space of which they are the most.
        vectors = {one.policy.thresholds for one in observed} | {policy.thresholds for policy in pending}
        if len(vectors) < self._start or len(observed) < 2:
            return self._begin(observed, pending)
        try:
            with _seeded(self._seed * 100_003 + number):
                candidates = self._candidates(observed, pending)
        except (ModelFittingError, NanError, NotPSDError) as error:
            log.warning("no model of %d trials (%s): the next point is of the Sobol sequence", len(observed), error)
            return self._begin(observed, pending)
        # Distinct points can be one policy; then the next best local maximum is tried, and at last any point.
        policy = first_new(self.space, self._then_anywhere(candidates), observed, pending)
        return Suggestion(policy, self._acquisition)

    def length_scales(self, observed: Sequence[Observation]) -> NDArray[np.float64]:
        """See `policies.search.strategy.Strategy`; 1 is the width of the cube."""
        with _seeded(self._seed):
            model = fit(*self._tensors(observed))
        return np.stack([length_scales(one).numpy() for one in model.models])

    def _begin(self, observed: Sequence[Observation], pending: Sequence[Policy]) -> Suggestion:
        return Suggestion(first_new(self.space, start_points(self.space, self._seed), observed, pending), "sobol")

    def _then_anywhere(self, candidates: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        yield from candidates
        generator = np.random.default_rng((self._seed, len(candidates)))
        while True:
            yield generator.random(self.space.dimensions)

    def _tensors(self, observed: Sequence[Observation]) -> tuple[Tensor, Tensor, Tensor]:
        x = torch.from_numpy(np.stack([self.space.point(one.policy) for one in observed]))
        y = torch.from_numpy(np.stack([one.utilities for one in observed]))
        return x, y, torch.from_numpy(np.stack([one.variances for one in observed]))

    def _candidates(self, observed: Sequence[Observation], pending: Sequence[Policy]) -> NDArray[np.float64]:
        """Local maxima of the acquisition, the best first."""
        x, y, variance = self._tensors(observed)
        waiting = torch.from_numpy(np.stack([self.space.point(policy) for policy in pending])) if pending else None
        maxima, values = optimize_acqf(
            self._acquire(fit(x, y, variance), x, y, waiting),
            bounds=torch.tensor([[0.0], [1.0]], dtype=torch.double).expand(2, x.shape[1]),
            q=1,
            num_restarts=RESTARTS,
            raw_samples=RAW_POINTS,
            options={"maxiter": ITERATIONS, "batch_limit": RESTARTS},
            return_best_only=False,
        )
        assert values is not None
        order = values.flatten().argsort(descending=True)
        ranked: NDArray[np.float64] = maxima[order, 0].detach().numpy()
        return ranked

    def _acquire(self, model: ModelListGP, x: Tensor, y: Tensor, pending: Tensor | None) -> AcquisitionFunction:
        sampler = SobolQMCNormalSampler(torch.Size([DRAWS]), seed=self._seed)
        if self._acquisition == "qlognehvi":
            return logei.qLogNoisyExpectedHypervolumeImprovement(
                model,
                self._reference,
                X_baseline=x,
                sampler=sampler,
                X_pending=pending,
                prune_baseline=True,
            )
        partitioning: Any = FastNondominatedPartitioning(self._reference, y)
        return logei.qLogExpectedHypervolumeImprovement(
            model, self._reference, partitioning=partitioning, sampler=sampler, X_pending=pending
        )


def fit(x: Tensor, y: Tensor, variance: Tensor) -> ModelListGP:
    """A Gaussian process for each objective, its length scales and mean the most probable ones.

    Args:
        x: an ``n x d`` tensor of points, float64.
        y: an ``n x m`` tensor of utilities.
        variance: theirs, of the same shape.

    Raises:
        ModelFittingError: no attempt at the optimisation converged.
    """
    models = [
        SingleTaskGP(
            x,
            y[:, [index]],
            variance[:, [index]].clamp_min(EXACT_VARIANCE),
            covar_module=get_covar_module_with_dim_scaled_prior(x.shape[1], use_rbf_kernel=False),
            outcome_transform=Standardize(1),
        )
        for index in range(y.shape[1])
    ]
    model = ModelListGP(*models)
    fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
    return model


def length_scales(model: Any) -> Tensor:
    """The length scale of each coordinate in a `fit` model of one objective, ``d``."""
    scales: Tensor = model.covar_module.lengthscale.detach().flatten()
    return scales


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draw from this seed, leave the caller's generator alone, and keep quiet about what is dealt with."""
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # Retries of a fit that did not converge at once; the last attempt raises.
        for category in (BotorchWarning, GPInputWarning, NumericalWarning):
            warnings.simplefilter("ignore", category)
        # Of an acquisition whose optimisation stopped early: BoTorch tries again, and any point will do at worst.
        warnings.filterwarnings("ignore", "Optimization failed", RuntimeWarning)
        torch.manual_seed(seed % 2**63)
        yield
