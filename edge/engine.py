"""What an edge engine does, whatever it runs on."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from policies.policy import Policy


@dataclass(frozen=True)
class Encoded:
    """One image, ready to send.

    Attributes:
        symbols: ``N x S`` complex64, mean power 1 over the frame.
        merge_map: for each patch, the row of ``symbols`` of the token that it went into; int64, -1 if not sent.
        sizes: patches in each of the N tokens (1 for a class token); int64.
        tokens_per_layer: tokens that leave each layer.
        capped: whether tokens were merged further to fit the cap.
        edge_gmacs: what the device computed, in 10^9 multiply-accumulates.
    """

    symbols: NDArray[np.complex64]
    merge_map: NDArray[np.int64]
    sizes: NDArray[np.int64]
    tokens_per_layer: tuple[int, ...]
    capped: bool
    edge_gmacs: float


class Engine(Protocol):
    """Runs the device's side of a bundle."""

    def encode(
        self, pixels: NDArray[np.uint8], policy: Policy, snr_db: float, max_channel_uses: int | None = None
    ) -> Encoded:
        """Turn one image into symbols.

        Args:
            pixels: the model's input, a ``size x size x 3`` array.
            policy: thresholds for the layers before the split, and the rate.
            snr_db: the average SNR that the encoder is to assume.
            max_channel_uses: the cap; tokens are merged further until the frame fits.

        Raises:
            InvalidRequestError: the policy does not fit the bundle.
            EngineError: the model makes no finite symbols of the image.
            BudgetError: the cap is under the cost of one token (the class token if one is sent, else one patch).
        """
        ...
