"""What the device computes for one image, in multiply-accumulates, from the counts of tokens at each layer."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge.torch_engine.encoder import JsccEncoder
from thinwire.bundle import Merging
from thinwire.nn.macs import attention_products
from thinwire.nn.towers.interface import Tower


class EdgeCost:
    """Counts embedding, layers, merging itself and the JSCC encoder (what `thinwire.nn.macs` counts of each).

    Args:
        tower: its layers before ``split_layer`` run on the device.
        split_layer: number of layers on the device.
        merging: how layers merge.
        encoder: the JSCC encoder, or None to leave it out.
        sent_prefix: class and register tokens that are encoded; by default all that run.
    """

    def __init__(
        self,
        tower: Tower,
        split_layer: int,
        merging: Merging,
        encoder: JsccEncoder | None,
        sent_prefix: int | None = None,
    ) -> None:
        self._embedding = tower.embedding_macs()
        self._layers = [tower.layer_macs(layer) for layer in range(split_layer)]
        self._merging = merging
        self._width = tower.width
        self._prefix = tower.prefix_tokens
        self._sent_prefix = tower.prefix_tokens if sent_prefix is None else sent_prefix
        self._encoder = 0 if encoder is None else encoder.macs_per_token()

    def _matching(self, counts: NDArray[np.int64], metric_width: int) -> NDArray[np.int64]:
        sources, destinations = counts // 2, (counts + 1) // 2
        # Norms of the metric for the cosine; norms of the hidden states and their weighted sum for the average.
        macs: NDArray[np.int64] = sources * destinations * metric_width + counts * (metric_width + 2 * self._width)
        return macs

    def gmacs(self, counts: NDArray[np.int64], merged: Sequence[bool], final: NDArray[np.int64]) -> NDArray[np.float64]:
        """Cost of each image.

        Args:
            counts: ``batch x (layers + 1)`` patch tokens that enter the first layer and leave each.
            merged: for each layer, whether it matches at all.
            final: ``batch`` patch tokens that are sent, fewer than leave the last layer where a cap merged further.

        Returns:
            ``batch`` 10^9 MACs.
        """
        total = np.full(len(counts), self._embedding, dtype=np.float64)
        for layer, macs in enumerate(self._layers):
            entering = counts[:, layer] + self._prefix
            leaving = counts[:, layer + 1] + self._prefix
            through_mlp = leaving if self._merging.place == "attention" else entering
            total += entering * macs.attention + attention_products(entering, macs.attention_width)
            total += through_mlp * macs.mlp
            if merged[layer]:
                width = macs.head_dim if self._merging.metric == "key_mean" else macs.attention_width
                total += self._matching(counts[:, layer], width)
        # Rounds of the cap; they merge down to one patch, which may then be dropped.
        left, least = counts[:, -1].copy(), np.maximum(final, 1)
        while (left > least).any():
            capped = left > least
            total += np.where(capped, self._matching(left, self._width), 0)
            left = np.where(capped, np.maximum(least, (left + 1) // 2), left)
        total += (final + self._sent_prefix) * self._encoder
        return total / 1e9
