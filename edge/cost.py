"""What the device computes for one image, in multiply-accumulates, from the counts of tokens at each layer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thinwire.bundle import Merging
from thinwire.macs import LayerMacs, attention_products


@dataclass(frozen=True)
class EdgeCost:
    """Counts embedding, layers, merging itself and the JSCC encoder (what `thinwire.nn.macs` counts of each).

    Attributes:
        embedding: MACs of the embedding of one image.
        layers: what each layer on the device costs.
        merging: how layers merge.
        width: D of the tokens.
        prefix: class and register tokens that run.
        sent_prefix: those of them that are encoded.
        encoder: MACs of the JSCC encoder per token, without products between tokens; 0 leaves it out.
        encoder_attention: width of all heads of the encoder, which the products between tokens go by.
    """

    embedding: int
    layers: tuple[LayerMacs, ...]
    merging: Merging
    width: int
    prefix: int
    sent_prefix: int
    encoder: int
    encoder_attention: int = 0

    def encoding(self, tokens: int) -> int:
        """MACs of encoding so many tokens."""
        return tokens * self.encoder + int(attention_products(tokens, self.encoder_attention))

    def _matching(self, count: int, metric_width: int) -> int:
        sources, destinations = count // 2, (count + 1) // 2
        # Norms of the metric for the cosine; norms of the hidden states and their weighted sum for the average.
        return sources * destinations * metric_width + count * (metric_width + 2 * self.width)

    def macs(self, counts: Sequence[int], merged: Sequence[bool], final: int) -> int:
        """Cost of one image in MACs; the arguments are one image's of `gmacs`."""
        total = self.embedding
        for layer, macs in enumerate(self.layers):
            entering, leaving = counts[layer] + self.prefix, counts[layer + 1] + self.prefix
            through_mlp = leaving if self.merging.place == "attention" else entering
            total += entering * macs.attention + attention_products(entering, macs.attention_width)
            total += through_mlp * macs.mlp
            if merged[layer]:
                total += self._matching(counts[layer], macs.metric_width(self.merging))
        # Rounds of the cap; they merge down to one patch, which may then be dropped.
        left, least = counts[-1], max(final, 1)
        while left > least:
            total += self._matching(left, self.width)
            left = max(least, (left + 1) // 2)
        return total + self.encoding(final + self.sent_prefix)

    def gmacs(self, counts: NDArray[np.int64], merged: Sequence[bool], final: NDArray[np.int64]) -> NDArray[np.float64]:
        """Cost of each image.

        Args:
            counts: ``batch x (layers + 1)`` patch tokens that enter the first layer and leave each.
            merged: for each layer, whether it matches at all.
            final: ``batch`` patch tokens that are sent, fewer than leave the last layer where a cap merged further.

        Returns:
            ``batch`` 10^9 MACs.
        """
        images = zip(counts.tolist(), final.tolist(), strict=True)
        return np.array([self.macs(row, merged, last) for row, last in images], dtype=np.float64) / 1e9
