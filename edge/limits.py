"""What every engine refuses, and how many tokens it may send."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.policy import Policy
from thinwire.bundle import Bundle
from thinwire.errors import BudgetError, EngineError, InvalidRequestError


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
