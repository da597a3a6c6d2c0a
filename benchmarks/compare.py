"""What a searched front saves against simpler ways, on images that chose nothing.

``python -m benchmarks.compare --store URL --select STUDY --test STUDY`` reads two studies of the same policies, one
measured on *select*, one with baselines on the test images (`thinwire policies sweep` and `baselines` make them).
Nothing is measured here.

For each family of baselines, every member that no other of the family dominates is set against the front: of the
policies at least as accurate on the test images, how many channel uses does the one with the fewest need that computes
no more, and how much does the one that computes least compute that sends no more? Where there is none, nothing is
saved, which counts. Both sides pick on the test images, the families their members and the front its answer to each.
"""

import argparse
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from deploy.cli.common import add_json, print_json, table
from policies.baseline import Baseline
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
        # Where no policy is as good at no more of either, the family wins: nothing is saved.
        uses.append(max(0.0, 1 - min(cheaper, default=math.inf) / one.channel_uses))
        gmacs.append(max(0.0, 1 - min(lighter, default=math.inf) / one.edge_gmacs))
    return {"members": len(uses)} | {
        name: {
            "beaten": sum(one > 0 for one in values),
            "median_saved": float(np.median(values)) if values else None,
        }
        for name, values in (("channel_uses", uses), ("edge_gmacs", gmacs))
    }


def cheapest(members: Sequence[Objectives], loss: float) -> dict[str, float] | None:
    """The fewest uses, and the fewest GMACs, within a loss of accuracy on the test images."""
    near = [one for one in members if one.accuracy_change >= -loss]
    if not near:
        return None
    return {"channel_uses": min(one.channel_uses for one in near), "edge_gmacs": min(one.edge_gmacs for one in near)}


def headline(select: Sequence[MeasuredPolicy], test: dict[str, Objectives], unmerged: Objectives) -> dict[str, Any]:
    """The policy of least cost within half a point on *select*, and what it does on the test images.

    Cost is the sum of the shares of GMACs and of tokens, so that neither is bought with all of the other.
    """
    near = [one for one in select if one.objectives.accuracy_change >= -LOSSES[0]]
    if not near:
        raise InvalidRequestError("no policy is within half a point of the unmerged reference")

    def cost(one: MeasuredPolicy) -> float:
        return one.objectives.edge_gmacs / unmerged.edge_gmacs + one.objectives.tokens / unmerged.tokens

    chosen = min(near, key=cost)
    figures = test[chosen.policy.digest]
    return {
        "policy": chosen.policy.id,
        "select_change": chosen.objectives.accuracy_change,
        "test_change": figures.accuracy_change,
        "test_change_se": figures.accuracy_change_se,
        "test_accuracy": figures.accuracy,
        "gmacs_share": figures.edge_gmacs / unmerged.edge_gmacs,
        "tokens": figures.tokens,
        "tokens_share": figures.tokens / unmerged.tokens,
        "channel_uses": figures.channel_uses,
    }


def compare(
    select: Sequence[MeasuredPolicy], test: Sequence[MeasuredPolicy], baselines: Sequence[Baseline]
) -> dict[str, Any]:
    """All of it, as JSON.

    Raises:
        InvalidRequestError: a policy was not measured on the test images, or the unmerged model was not.
    """
    on_test = {one.policy.digest: one.objectives for one in test}
    if missing := [one.policy.id for one in select if one.policy.digest not in on_test]:
        raise InvalidRequestError(f"not measured on the test images: {', '.join(missing)}")
    front = [on_test[one.policy.digest] for one in select]
    families: dict[str, list[Objectives]] = {}
    for one in baselines:
        families.setdefault(one.family, []).append(one.objectives)
    if "unmerged" not in families:
        raise InvalidRequestError(
            "the study on the test images has no baselines: `thinwire policies baselines` adds them"
        )
    unmerged = max(families["unmerged"], key=lambda one: one.edge_gmacs)
    groups = {"searched": front, **families}
    return {
        "n": front[0].n,
        "cheapest": {f"{loss:g}": {name: cheapest(group, loss) for name, group in groups.items()} for loss in LOSSES},
        "savings": {name: savings(front, members) for name, members in families.items()},
        "headline": headline(select, on_test, unmerged),
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
    return "\n\n".join((*(table(one) for one in (rows, saved) if one), top))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("--select", required=True, help="study of the front on the select split")
    parser.add_argument(
        "--test", required=True, help="study of the same policies, and of baselines, on the test images"
    )
    add_json(parser)
    options = parser.parse_args(arguments)
    with Store(options.store, create=False) as store:
        select, test = store.get_study(options.select), store.get_study(options.test)
        identities = [(study.bundle_digest, study.channel) for study in (select, test)]
        if identities[0] != identities[1]:
            raise InvalidRequestError(f"studies of one bundle and one channel can be compared, got {identities}")
        policies = store.front(select).policies
        result = compare(policies, store.trials(test), store.baselines(test))
    print_json(result) if options.json else print(as_text(result))


if __name__ == "__main__":
    main()
