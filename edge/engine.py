"""What an edge engine does, whatever it runs on: what it refuses, how many tokens it may send, and what that costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from policies.policy import Policy
from thinwire.bundle import Bundle, Merging
from thinwire.errors import BudgetError, EngineError, InvalidRequestError
from thinwire.macs import LayerMacs, attention_products


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


def check_policy(policy: Policy, bundle: Bundle) -> None:
    """Check that a policy fits a bundle.

    Raises:
        InvalidRequestError: it has thresholds for another number of layers, or a rate above the codec's.
    """
    if len(policy.thresholds) != bundle.split_layer:
        raise InvalidRequestError(
            f"expected {bundle.split_layer} thresholds, one per layer before the split, got {len(policy.thresholds)}"
        )
    highest = bundle.codec.max_symbols_per_token
    if policy.symbols_per_token > highest:
        raise InvalidRequestError(f"symbols_per_token is at most {highest}, got {policy.symbols_per_token}")


def token_limits(
    present: int, least: int, max_tokens: int | None, symbols_per_token: int, max_channel_uses: int | None
) -> tuple[int, int]:
    """The most tokens that may be sent.

    Args:
        present: tokens that there are at most; no limit is above it, since a cap may exceed what 64 bits hold.
        least: the fewest tokens that can be sent.
        max_tokens: the policy's limit.
        symbols_per_token: the rate.
        max_channel_uses: the cap.

    Returns:
        the policy's own limit, and that of policy and cap together.

    Raises:
        BudgetError: the cap is under the cost of the fewest tokens.
        InvalidRequestError: so is the policy's limit.
    """
    wanted = present if max_tokens is None else min(max_tokens, present)
    if wanted < least:
        raise InvalidRequestError(f"max_tokens must be at least {least} for this bundle, got {max_tokens}")
    room = present if max_channel_uses is None else max_channel_uses // symbols_per_token
    if room < least:
        raise BudgetError(f"the cap leaves room for {room} tokens; the least that can be sent is {least}")
    return wanted, min(room, wanted)


def check_finite(symbols: NDArray[Any]) -> None:
    """Check what is about to be sent.

    Raises:
        EngineError: a symbol is not finite.
    """
    if not np.isfinite(symbols).all():
        raise EngineError("the model makes no finite symbols of this image")


@dataclass(frozen=True)
class EdgeCost:
    """What the device computes for one image, in multiply-accumulates, from the counts of tokens at each layer.

    Counts embedding, layers, merging itself and the JSCC encoder (what `thinwire.nn.macs` counts of each).

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

    def _matching(self, count: int, metric_width: int, is_centred: bool = False) -> int:
        sources, destinations = count // 2, (count + 1) // 2
        # Mean of the metric, if that is taken off, and norms for the cosine; norms of the hidden states and their
        # weighted sum for the average.
        passes = 2 if is_centred else 1
        return sources * destinations * metric_width + count * (passes * metric_width + 2 * self.width)

    def macs(self, counts: Sequence[int], merged: Sequence[bool], final: int) -> int:
        """Cost of one image in MACs; the arguments are one image's of `gmacs`."""
        total = self.embedding
        for layer, macs in enumerate(self.layers):
            entering, leaving = counts[layer] + self.prefix, counts[layer + 1] + self.prefix
            through_mlp = leaving if self.merging.place == "attention" else entering
            total += entering * macs.attention + attention_products(entering, macs.attention_width)
            total += through_mlp * macs.mlp
            if merged[layer]:
                width = macs.metric_width(self.merging)
                total += self._matching(counts[layer], width, self.merging.is_centred)
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
