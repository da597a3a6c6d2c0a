"""What the device computes for one image, in multiply-accumulates, from the counts of tokens at each layer."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from edge.torch_engine.encoder import JsccEncoder
from thinwire.bundle import Merging
from thinwire.nn.backbone import VisionTransformer
from thinwire.nn.macs import attention_products, count_macs


class EdgeCost:
    """Counts embedding, blocks, merging itself and the JSCC encoder (what `thinwire.nn.macs` counts of each).

    Args:
        model: the backbone; its blocks before ``split_layer`` run on the device.
        split_layer: number of blocks on the device.
        merging: how layers merge.
        encoder: the JSCC encoder, or None to leave it out.
    """

    def __init__(
        self, model: VisionTransformer, split_layer: int, merging: Merging, encoder: JsccEncoder | None
    ) -> None:
        size = model.patch_embed.grid_size[0] * model.patch_embed.patch_size[0]
        device = next(model.parameters()).device
        image = torch.zeros(1, model.in_chans, size, size, device=device)
        token = torch.zeros(1, 1, model.embed_dim, device=device)
        self._embedding = count_macs(model.patch_embed, image)
        self._blocks = model.blocks[:split_layer]
        # One token's worth of matrix products; the products between tokens come on top.
        self._attention = [count_macs(block.attn, token) - attention_products(1, block.attn.attn_dim)
                           for block in self._blocks]  # fmt: skip
        self._mlp = [count_macs(block.mlp, token) for block in self._blocks]
        self._merging = merging
        self._width = model.embed_dim
        self._prefix = model.num_prefix_tokens
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
        for layer, block in enumerate(self._blocks):
            entering = counts[:, layer] + self._prefix
            leaving = counts[:, layer + 1] + self._prefix
            through_mlp = leaving if self._merging.place == "attention" else entering
            total += entering * self._attention[layer] + attention_products(entering, block.attn.attn_dim)
            total += through_mlp * self._mlp[layer]
            if merged[layer]:
                width = block.attn.head_dim if self._merging.metric == "key_mean" else block.attn.attn_dim
                total += self._matching(counts[:, layer], width)
        # Rounds of the cap; they merge down to one patch, which may then be dropped.
        left, least = counts[:, -1].copy(), np.maximum(final, 1)
        while (left > least).any():
            capped = left > least
            total += np.where(capped, self._matching(left, self._width), 0)
            left = np.where(capped, np.maximum(least, (left + 1) // 2), left)
        total += (final + self._prefix) * self._encoder
        return total / 1e9
