"""Samples that several tests of the policies share."""

from collections.abc import Callable
from typing import Any

import pytest

from policies.policy import AccuracyAt, MeasuredPolicy, Objectives, Policy
from thinwire.channels import Channel

BUNDLE_DIGEST = "b" * 64


def _measured(
    thresholds: tuple[float, ...] = (0.9, 0.8),
    symbols_per_token: int = 8,
    curve: Any = (),
    max_tokens: int | None = None,
    sensitive_below_db: float | None = None,
    **objectives: Any,
) -> MeasuredPolicy:
    """Each point of the curve is an SNR, an accuracy and its standard error."""
    figures = {
        "accuracy": 0.7,
        "accuracy_se": 0.01,
        "n": 2000,
        "edge_gmacs": 1.5,
        "channel_uses": 100.0,
        "channel_uses_p95": 120,
        "tokens": 12.5,
        "tokens_sd": 2.5,
        "capped_share": 0.05,
        "accuracy_change": -0.02,
        "accuracy_change_se": 0.005,
    }
    return MeasuredPolicy(
        policy=Policy.create(thresholds, symbols_per_token, max_tokens),
        bundle_digest=BUNDLE_DIGEST,
        channel=Channel("awgn", 10.0),
        objectives=Objectives(**(figures | objectives)),
        accuracy_by_snr=tuple(AccuracyAt(*point, change=-0.03, change_se=0.004) for point in curve),
        sensitive_below_db=sensitive_below_db,
        provenance={"data_digest": "d" * 64, "split": "select", "seed": 7, "versions": {"thinwire": "0.1.0"}},
    )


@pytest.fixture(scope="session")
def measured() -> Callable[..., MeasuredPolicy]:
    """Makes a measured policy; the session's scope lets properties use it."""
    return _measured
