"""What a JSCC pair trains on: the tokens of images or clips, a few of which are drawn for each step."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Drawn(NamedTuple):
    """Tokens that are to be sent.

    Attributes:
        x: ``batch x N x D`` float32.
        sizes: ``batch x N``; above 0 for padding, too.
        valid: ``batch x N`` bool, false for padding.
        weights: ``batch x N``, how much each token's error counts; 0 for padding.
    """

    x: Tensor
    sizes: Tensor
    valid: Tensor
    weights: Tensor


class TokenSets(Protocol):
    """One set for each image or clip."""

    @property
    def key(self) -> object:
        """What tells these from others, as a checkpoint notes it."""
        ...

    def __len__(self) -> int: ...

    def rows(self) -> Tensor:
        """Tokens of many sets, ``rows x D`` float32, to take statistics of."""
        ...

    def batches(self, size: int, generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """Which sets meet in a step, through all of them once, but for those that fill no step."""
        ...

    def draw(self, items: NDArray[np.int64], generator: np.random.Generator) -> Drawn:
        """What is sent of some sets in one step, on the CPU."""
        ...


class ImageTokens:
    """Tokens of images of which nothing has merged: random subsets with random sizes stand for merging.

    Args:
        features: ``n x (prefix + patches) x D``.
        prefix: class tokens, which are always sent.
    """

    def __init__(self, features: Tensor, prefix: int) -> None:
        self._features = features
        self._prefix = prefix

    @property
    def key(self) -> object:
        """See `TokenSets`."""
        return tuple(self._features.shape)

    def __len__(self) -> int:
        return len(self._features)

    def rows(self) -> Tensor:
        """See `TokenSets`."""
        return self._features[:2000].flatten(0, 1).float()

    def batches(self, size: int, generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
        """See `TokenSets`."""
        order = generator.permutation(len(self))
        for start in range(0, len(self) - size + 1, size):
            yield order[start : start + size]

    def draw(self, items: NDArray[np.int64], generator: np.random.Generator) -> Drawn:
        """See `TokenSets`."""
        x = self._features[torch.from_numpy(items)].float()
        batch, patches = len(x), x.shape[1] - self._prefix
        # Half of the steps on few tokens, where merging leads.
        count = (
            int(np.exp(generator.uniform(0, np.log(patches + 0.999))))
            if generator.random() < 0.5
            else int(generator.integers(1, patches + 1))
        )
        chosen = np.argsort(generator.random((batch, patches)), axis=1)[:, :count]
        index = torch.from_numpy(np.sort(chosen, axis=1))[..., None].expand(-1, -1, x.shape[-1])
        sizes = random_sizes(batch, count, patches, generator)
        x = torch.cat((x[:, : self._prefix], x[:, self._prefix :].gather(1, index)), dim=1)
        sizes = torch.cat((sizes.new_ones(batch, self._prefix), sizes), dim=1)
        return Drawn(x, sizes, torch.ones(x.shape[:2], dtype=torch.bool), sizes)


def random_sizes(batch: int, tokens: int, patches: int, generator: np.random.Generator) -> Tensor:
    """Sizes of at least 1 that sum to ``patches``, from even to very uneven: a ``batch x tokens`` tensor of float32."""
    concentration = np.exp(generator.uniform(np.log(0.3), np.log(10.0), size=(batch, 1)))
    shares = generator.gamma(np.broadcast_to(concentration, (batch, tokens))) + 1e-9
    shares /= shares.sum(1, keepdims=True)
    return torch.from_numpy(1 + generator.multinomial(patches - tokens, shares)).float()
