"""Multi-objective Bayesian optimisation, by BoTorch."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Literal

import gpytorch
import numpy as np
import torch
from botorch.acquisition import AcquisitionFunction
from botorch.acquisition.multi_objective.logei import (
    qLogExpectedHypervolumeImprovement,
    qLogNoisyExpectedHypervolumeImprovement,
)
from botorch.exceptions import BotorchWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.transforms import Standardize
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from botorch.optim import optimize_acqf
from botorch.sampling import SobolQMCNormalSampler
from botorch.utils.multi_objective.box_decompositions import FastNondominatedPartitioning
from gpytorch.mlls import SumMarginalLogLikelihood
from numpy.typing import NDArray
from torch import Tensor

from policies.policy import Policy
from policies.search.space import SearchSpace
from policies.search.strategy import Observation, SobolSearch, first_new

Acquisition = Literal["qlognehvi", "ehvi"]
# A variance for what is exact: a Gaussian process needs some, and a thousandth of the scale is below any interest.
EXACT_VARIANCE = 1e-6
# Draws of the posterior for the acquisition; and points that its optimisation begins with.
DRAWS = 128
RAW_POINTS = 256
RESTARTS = 6


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
        start: trials of a Sobol sequence before the first model.
        acquisition: what to maximise.

    Attributes:
        length_scales: of the latest model, ``objectives x dimensions``, where 1 is the width of the cube; None before
            the first.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: int,
        seed: int,
        start: int | None = None,
        acquisition: Acquisition = "qlognehvi",
    ) -> None:
        self._space = space
        self._seed = seed
        self._start = 2 * (space.dimensions + 1) if start is None else start
        self._acquisition = acquisition
        self._reference = torch.zeros(objectives, dtype=torch.double)
        self._sobol = SobolSearch(space, seed)
        self.length_scales: NDArray[np.float64] | None = None

    def suggest(self, observed: Sequence[Observation], pending: Sequence[Policy]) -> Policy:
        """See `policies.search.strategy.Strategy`."""
        number = len(observed) + len(pending)
        if number < self._start or len(observed) < 2:
            return self._sobol.suggest(observed, pending)
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            # Retries of a fit that did not converge at once; the last attempt raises.
            warnings.simplefilter("ignore", BotorchWarning)
            warnings.simplefilter("ignore", gpytorch.utils.warnings.GPInputWarning)
            warnings.simplefilter("ignore", gpytorch.utils.warnings.NumericalWarning)
            torch.manual_seed(self._seed * 100_003 + number)
            candidates = self._candidates(observed, pending)
        # Distinct points can be one policy; then the next best local maximum is tried, and at last any point.
        return first_new(self._space, self._then_anywhere(candidates), observed, pending)

    def _then_anywhere(self, candidates: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        yield from candidates
        generator = np.random.default_rng((self._seed, len(candidates)))
        while True:
            yield generator.random(self._space.dimensions)

    def _candidates(self, observed: Sequence[Observation], pending: Sequence[Policy]) -> NDArray[np.float64]:
        """Local maxima of the acquisition, the best first."""
        x = torch.from_numpy(np.stack([self._space.point(one.policy) for one in observed]))
        y = torch.from_numpy(np.stack([one.utilities for one in observed]))
        variance = torch.from_numpy(np.stack([one.variances for one in observed])).clamp_min(EXACT_VARIANCE)
        model = _fit(x, y, variance)
        self.length_scales = np.stack([_length_scale(one).numpy() for one in model.models])
        waiting = torch.from_numpy(np.stack([self._space.point(policy) for policy in pending])) if pending else None
        maxima, values = optimize_acqf(
            self._acquire(model, x, y, waiting),
            bounds=torch.tensor([[0.0], [1.0]], dtype=torch.double).expand(2, x.shape[1]),
            q=1,
            num_restarts=RESTARTS,
            raw_samples=RAW_POINTS,
            options={"maxiter": 100, "batch_limit": RESTARTS},
            return_best_only=False,
        )
        order = values.flatten().argsort(descending=True)
        ranked: NDArray[np.float64] = maxima[order, 0].detach().numpy()
        return ranked

    def _acquire(self, model: ModelListGP, x: Tensor, y: Tensor, pending: Tensor | None) -> AcquisitionFunction:
        sampler = SobolQMCNormalSampler(torch.Size([DRAWS]), seed=self._seed)
        if self._acquisition == "qlognehvi":
            return qLogNoisyExpectedHypervolumeImprovement(
                model,
                self._reference,
                X_baseline=x,
                sampler=sampler,
                X_pending=pending,
                prune_baseline=True,
            )
        return qLogExpectedHypervolumeImprovement(
            model,
            self._reference,
            partitioning=FastNondominatedPartitioning(self._reference, y),
            sampler=sampler,
            X_pending=pending,
        )


def _fit(x: Tensor, y: Tensor, variance: Tensor) -> ModelListGP:
    models = [
        SingleTaskGP(
            x,
            y[:, [index]],
            variance[:, [index]],
            covar_module=get_covar_module_with_dim_scaled_prior(x.shape[1], use_rbf_kernel=False),
            outcome_transform=Standardize(1),
        )
        for index in range(y.shape[1])
    ]
    model = ModelListGP(*models)
    fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
    return model


def _length_scale(model: SingleTaskGP) -> Tensor:
    kernel = getattr(model.covar_module, "base_kernel", model.covar_module)
    scale: Tensor = kernel.lengthscale.detach().flatten()
    return scale
