"""A model that costs nothing: analytic objectives in the shape of a vision transformer's, and noise on one of them."""

import os

import numpy as np

from policies.policy import MeasuredPolicy, Objectives, Policy
from policies.search.objectives import Scale
from policies.search.space import SearchSpace
from thinwire.channels import Channel

LAYERS = 6
TOKENS = 65.0
NAMES = ("accuracy", "edge_gmacs", "channel_uses")
RATES = (1, 2, 4, 8, 16)
LIMITS = (4, 8, 16, 32, None)
# Standard error of the paired accuracy: 2,000 images of which one in twenty changes its answer.
ERROR = 0.004
# What a layer's tokens cost, and how much the answers suffer from what merges there: early merging hurts most.
DAMAGE = np.array([0.10, 0.06, 0.04, 0.025, 0.015, 0.01])
# How early a layer's tokens become similar.
BEND = np.array([0.6, 0.8, 1.0, 1.2, 1.5, 2.0])


def space(layers: int = LAYERS) -> SearchSpace:
    """Thresholds from 0 to 1 of so many layers, five rates and five limits."""
    return SearchSpace.box([0.0] * layers, [1.0] * layers, RATES, LIMITS)


def exact(policy: Policy) -> dict[str, float]:
    """The objectives without noise."""
    tokens, gmacs, loss = TOKENS, 0.0, 0.0
    for threshold, damage, bend in zip(policy.thresholds, DAMAGE, BEND, strict=False):
        gmacs += 0.02 * tokens + 0.00005 * tokens**2
        merging = 1 - threshold**bend if threshold < 1 else 0.0
        # At most half of the patches of a layer merge.
        tokens *= 1 - 0.5 * merging
        loss += damage * merging**2
    sent = tokens if policy.max_tokens is None else min(tokens, policy.max_tokens)
    loss += 0.08 * (1 - sent / tokens) ** 2 + 0.3 / (1 + policy.symbols_per_token) ** 2
    return {"change": -loss, "gmacs": gmacs, "uses": sent * policy.symbols_per_token, "tokens": sent}


def measure(policy: Policy, noise: float = ERROR) -> MeasuredPolicy:
    """What an evaluator would answer: the same for the same policy."""
    truth = exact(policy)
    generator = np.random.default_rng(int(policy.digest[:12], 16))
    change = float(np.clip(truth["change"] + noise * generator.standard_normal(), -1, 1))
    figures = Objectives(
        accuracy=0.9 + max(-0.9, min(0.1, change)),
        accuracy_se=0.01,
        n=2000,
        edge_gmacs=truth["gmacs"],
        channel_uses=truth["uses"],
        channel_uses_p95=int(truth["uses"]) + 1,
        tokens=truth["tokens"],
        tokens_sd=1.0,
        capped_share=0.0,
        accuracy_change=change,
        accuracy_change_se=noise,
    )
    return MeasuredPolicy(policy, "b" * 64, Channel("awgn", 10.0), figures)


def each(measure, policies):
    """What a search asks of an evaluator with one study: the policies by a function of one."""
    return [[measure(policy) for policy in policies]]


def measure_or_die(fatal: Policy, policy: Policy) -> MeasuredPolicy:
    """What `measure` answers, but for one policy, at which the process ends. Here, where no torch is imported."""
    if policy == fatal:
        os._exit(9)
    return measure(policy)


def scale(layers: int = LAYERS) -> Scale:
    """From the cost of the unmerged model at the highest rate to none."""
    return Scale.of_unmerged(NAMES, measure(Policy.unmerged(layers, max(RATES)), noise=0.0).objectives)
