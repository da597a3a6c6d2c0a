"""What a searched front saves against simpler ways, on images that chose nothing.

``python -m benchmarks.compare --store URL --select STUDY --test STUDY`` reads two studies of the same policies, one
measured on *select*, one with baselines on the test images (`thinwire policies sweep` and `baselines` make them).
Nothing is measured here.

For each family of baselines, every member that no other of the family dominates is set against the front: of the
policies at least as accurate on the test images, how many channel uses does the one with the fewest need that computes
no more, and how much does the one that computes least compute that sends no more? Families may pick their members on
the test images, which favours them.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from policies.baseline import Baseline

from deploy.cli.common import add_json, print_json, table
from policies.pareto import non_dominated
from policies.record import MeasuredPolicy, Objectives
from policies.store import Store
from thinwire.errors import InvalidRequestError

# Losses of accuracy at which the cheapest of each family are compared.
LOSSES = (0.005, 0.01, 0.02, 0.03)
# Members that lose more are of no interest to anybody.
MOST_LOST = 0.05


def key(figures: Objectives) -> tuple[float, float, float]:
    """What counts: accuracy, uses, GMACs."""
    return figures.accuracy, figures.channel_uses, figures.edge_gmacs


def best_of(members: Sequence[Objectives]) -> list[Objectives]:
    """Those that no other dominates, within reach of the unmerged accuracy."""
    near = [one for one in members if one.accuracy_change >= -MOST_LOST]
    if not near:
        return []
    kept = non_dominated(np.array([key(one) for one in near]), (True, False, False))
    return [one for one, keep in zip(near, kept, strict=True) if keep]


def savings(front: Sequence[Objectives], members: Sequence[Objectives]) -> dict[str, Any]:
    """Median shares of uses and GMACs that the front saves at equal accuracy, over a family's best members."""
    uses, gmacs = [], []
    for one in best_of(members):
        as_good = [policy for policy in front if policy.accuracy >= one.accuracy]
        cheaper = [policy.channel_uses for policy in as_good if policy.edge_gmacs <= one.edge_gmacs]
        lighter = [policy.edge_gmacs for policy in as_good if policy.channel_uses <= one.channel_uses]
        # Where no policy is as good at no more cost, the family wins: nothing is saved.
        uses.append(1 - min(cheaper) / one.channel_uses if cheaper else None)
        gmacs.append(1 - min(lighter) / one.edge_gmacs if lighter else None)
    return {"members": len(uses)} | {
        name: {
            "beaten": sum(one is not None for one in values),
            "median_saved": float(np.median([one for one in values if one is not None])) if any(values) else None,
        }
        for name, values in (("channel_uses", uses), ("edge_gmacs", gmacs))
    }


def cheapest(members: Sequence[Objectives], loss: float) -> dict[str, float] | None:
    """The fewest uses, and the fewest GMACs, within a loss of accuracy on the test images."""
    near = [one for one in members if one.accuracy_change >= -loss]
    if not near:
        return None
    return {"channel_uses": min(one.channel_uses for one in near), "edge_gmacs": min(one.edge_gmacs for one in near)}


def headline(
    select: Sequence[MeasuredPolicy], test: dict[str, Objectives], unmerged_gmacs: float, patches: int
) -> dict[str, Any]:
    """The policy of least cost within half a point on *select*, and what it does on the test images.

    Cost is the sum of the shares of GMACs and of tokens, so that neither is bought with all of the other.
    """
    near = [one for one in select if one.objectives.accuracy_change >= -LOSSES[0]]
    if not near:
        raise InvalidRequestError("no policy is within half a point of the unmerged reference")

    def cost(one: MeasuredPolicy) -> float:
        return one.objectives.edge_gmacs / unmerged_gmacs + one.objectives.tokens / patches

    chosen = min(near, key=cost)
    figures = test[chosen.policy.digest]
    return {
        "policy": chosen.policy.id,
        "select_change": chosen.objectives.accuracy_change,
        "test_change": figures.accuracy_change,
        "test_change_se": figures.accuracy_change_se,
        "test_accuracy": figures.accuracy,
        "gmacs_share": figures.edge_gmacs / unmerged_gmacs,
        "tokens": figures.tokens,
        "tokens_share": figures.tokens / patches,
        "channel_uses": figures.channel_uses,
    }


def compare(
    select: Sequence[MeasuredPolicy], test: Sequence[MeasuredPolicy], baselines: Sequence[Baseline], patches: int
) -> dict[str, Any]:
    """All of it, as JSON."""
    on_test = {one.policy.digest: one.objectives for one in test}
    front = [on_test[one.policy.digest] for one in select]
    families: dict[str, list[Objectives]] = {}
    for one in baselines:
        families.setdefault(one.family, []).append(one.objectives)
    unmerged = max(families["unmerged"], key=lambda one: one.edge_gmacs)
    groups = {"searched": front, **families}
    return {
        "n": front[0].n,
        "cheapest": {f"{loss:g}": {name: cheapest(group, loss) for name, group in groups.items()} for loss in LOSSES},
        "savings": {name: savings(front, members) for name, members in families.items()},
        "headline": headline(select, on_test, unmerged.edge_gmacs, patches),
    }


def as_text(result: dict[str, Any]) -> str:
    """Three tables."""
    rows = []
    for loss, groups in result["cheapest"].items():
        for name, least in groups.items():
            if least is not None:
                rows.append(
                    {
                        "within": f"{100 * float(loss):g} points",
                        "family": name,
                        "fewest uses": f"{least['channel_uses']:.1f}",
                        "fewest GMACs": f"{least['edge_gmacs']:.4f}",
                    }
                )
    saved = [
        {
            "family": name,
            "members": str(one["members"]),
            **{
                f"{what} saved": "-" if one[what]["median_saved"] is None
                else f"{100 * one[what]['median_saved']:.0f} % ({one[what]['beaten']} beaten)"
                for what in ("channel_uses", "edge_gmacs")
            },
        }
        for name, one in result["savings"].items()
    ]  # fmt: skip
    top = "\n".join(
        f"{name:16} {value:.4f}" if isinstance(value, float) else f"{name:16} {value}"
        for name, value in result["headline"].items()
    )
    return "\n\n".join((table(rows), table(saved), top))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("--select", required=True, help="study of the front on the select split")
    parser.add_argument(
        "--test", required=True, help="study of the same policies, and of baselines, on the test images"
    )
    parser.add_argument("--patches", type=int, default=64, help="tokens of the unmerged model")
    add_json(parser)
    options = parser.parse_args(arguments)
    with Store(options.store, create=False) as store:
        select, test = store.get_study(options.select), store.get_study(options.test)
        policies = store.front(select).policies
        result = compare(policies, store.trials(test), store.baselines(test), options.patches)
    print_json(result) if options.json else print(as_text(result))


if __name__ == "__main__":
    main()
