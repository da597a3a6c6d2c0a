"""What an edge engine does, whatever it runs on: what it refuses, how many tokens it may send, and what that costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from policies.policy import Policy
from thinwire.audio import FRAMES_PER_POSITION
from thinwire.bundle import Bundle, Merging
from thinwire.errors import BudgetError, EngineError, InvalidRequestError
from thinwire.macs import LayerMacs, attention_products


@dataclass(frozen=True)
class Encoded:
    """One image or clip, ready to send.

    Attributes:
        symbols: ``N x S`` complex64, mean power 1 over the frame.
        merge_map: for each patch, of a clip each position, the row of ``symbols`` of the token that it went into;
            int64, -1 if not sent.
        sizes: patches in each of the N tokens (1 for a class token); int64.
        tokens_per_layer: tokens that leave each layer; where some merge in front of the first, those that leave that
            come first.
        capped: whether tokens were merged further to fit the cap.
        edge_gmacs: what the device computed, in 10^9 multiply-accumulates.
    """

    symbols: NDArray[np.complex64]
    merge_map: NDArray[np.int64]
    sizes: NDArray[np.int64]
    tokens_per_layer: tuple[int, ...]
    capped: bool
    edge_gmacs: float

    @property
    def spans(self) -> NDArray[np.int64]:
        """What each token of a clip covers: ``N x 2`` int64, its first position and the one behind its last.

        A position is 20 ms, which is `thinwire.audio.FRAMES_PER_POSITION` frames of features. Of tokens that merged
        with others than their neighbours there is no such thing.
        """
        rows = np.arange(len(self.sizes))
        ends = [np.searchsorted(self.merge_map, rows, side) for side in ("left", "right")]
        return np.stack(ends, axis=1).astype(np.int64)


class Engine(Protocol):
    """Runs the device's side of a bundle."""

    @property
    def mel_bins(self) -> int | None:
        """Bands of the features that it takes; None of an engine that takes pixels."""
        ...

    def encode(
        self, inputs: NDArray[Any], policy: Policy, snr_db: float, max_channel_uses: int | None = None
    ) -> Encoded:
        """Turn one image or clip into symbols.

        Args:
            inputs: the model's input: ``size x size x 3`` uint8 pixels, or ``mel_bins x frames`` float32 features, as
                `thinwire.audio.log_mel` gives them.
            policy: thresholds for the layers before the split, and the rate.
            snr_db: the average SNR that the encoder is to assume.
            max_channel_uses: the cap; tokens are merged further until the frame fits.

        Raises:
            InvalidRequestError: the policy does not fit the bundle, or the features do not fit the model.
            EngineError: the model makes no finite symbols of the image.
            BudgetError: the cap is under the cost of one token (the class token if one is sent, else one patch).
        """
        ...


def check_policy(policy: Policy, bundle: Bundle) -> None:
    """Check that a policy fits a bundle.

    Raises:
        InvalidRequestError: it has thresholds for another number of layers, or a rate above the codec's.
    """
    if len(policy.thresholds) != bundle.steps:
        front = " and one in front of the first" if bundle.merging.front else ""
        raise InvalidRequestError(
            f"expected {bundle.steps} thresholds, one per layer before the split{front}, got {len(policy.thresholds)}"
        )
    highest = bundle.codec.max_symbols_per_token
    if policy.symbols_per_token > highest:
        raise InvalidRequestError(f"symbols_per_token is at most {highest}, got {policy.symbols_per_token}")


def check_features(features: NDArray[Any], mel_bins: int, positions: int) -> None:
    """Check features of a clip.

    Args:
        features: what is to be ``mel_bins x frames`` float32.
        mel_bins: that the model takes.
        positions: that it has.

    Raises:
        InvalidRequestError: they are not, or their frames are none, too many, or make no whole number of positions.
    """
    frames, most = features.shape[-1] if features.ndim == 2 else 0, FRAMES_PER_POSITION * positions
    is_whole = 0 < frames <= most and frames % FRAMES_PER_POSITION == 0
    if features.dtype != np.float32 or not is_whole or len(features) != mel_bins:
        raise InvalidRequestError(
            f"expected float32 features of {mel_bins} x an even number of frames up to {most}, "
            f"got {features.dtype} of {features.shape}"
        )


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
        raise EngineError("the model makes no finite symbols of this input")


@dataclass(frozen=True)
class EdgeCost:
    """What the device computes for one image or clip, in multiply-accumulates, from the counts of tokens at each layer.

    Counts embedding, layers, merging itself and the JSCC encoder (what `thinwire.nn.macs` counts of each).

    Attributes:
        embedding: MACs of the embedding of all patches.
        patches: how many these are where a shorter clip takes its share; None of images, which are embedded whole.
        layers: what each layer on the device costs.
        merging: how layers merge.
        width: D of the tokens.
        prefix: class and register tokens that run.
        sent_prefix: those of them that are encoded.
        encoder: MACs of the JSCC encoder per token, without products between tokens; 0 leaves it out.
        encoder_attention: width of all heads of the encoder, which the products between tokens go by.
    """

    embedding: int
    patches: int | None
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

    def _matching(self, count: int, metric_width: int, carried: int = 0) -> int:
        sources, destinations = count // 2, (count + 1) // 2
        pairs = max(count - 1, 0) if self.merging.neighbours else sources * destinations
        # Norms for the cosine; norms of the hidden states and their weighted sum for the average, and that of a metric
        # that another round compares.
        return pairs * metric_width + count * (metric_width + 2 * self.width + carried)

    def _merging(self, count: int, metric_width: int, rounds: int, is_centred: bool = False) -> int:
        mean = count * metric_width if is_centred else 0
        if not rounds:
            return mean + self._matching(count, metric_width)
        # As if every round met all the tokens that enter, which is the most: how many each leaves is not counted.
        return mean + rounds * self._matching(count, metric_width, metric_width)

    def macs(self, counts: Sequence[int], merged: Sequence[bool], final: int) -> int:
        """Cost of one image in MACs; the arguments are one image's of `gmacs`."""
        total = self.embedding if self.patches is None else self.embedding * counts[0] // self.patches
        if self.merging.front:
            rounds = self.merging.in_front.neighbours
            total += self._merging(counts[0], self.width, rounds) if merged[0] else 0
            counts, merged = counts[1:], merged[1:]
        for layer, macs in enumerate(self.layers):
            entering, leaving = counts[layer] + self.prefix, counts[layer + 1] + self.prefix
            through_mlp = leaving if self.merging.place == "attention" else entering
            total += entering * macs.attention + attention_products(entering, macs.attention_width)
            total += through_mlp * macs.mlp
            if merged[layer]:
                width, rounds = macs.metric_width(self.merging), self.merging.neighbours
                total += self._merging(counts[layer], width, rounds, self.merging.is_centred)
        # Rounds of the cap; they merge down to one patch, which may then be dropped.
        left, least = counts[-1], max(final, 1)
        while left > least:
            total += self._matching(left, self.width)
            left = max(least, (left + 1) // 2)
        return total + self.encoding(final + self.sent_prefix)

    def gmacs(self, counts: NDArray[np.int64], merged: Sequence[bool], final: NDArray[np.int64]) -> NDArray[np.float64]:
        """Cost of each image.

        Args:
            counts: ``batch x (layers + 1)`` patch tokens that enter the first layer and leave each; with
                `Merging.front`, also those that leave the merge in front, in the second place.
            merged: for each layer, and before them for the merge in front, whether it matches at all.
            final: ``batch`` patch tokens that are sent, fewer than leave the last layer where a cap merged further.

        Returns:
            ``batch`` 10^9 MACs.
        """
        images = zip(counts.tolist(), final.tolist(), strict=True)
        return np.array([self.macs(row, merged, last) for row, last in images], dtype=np.float64) / 1e9
