"""What a searched front saves against simpler ways, chosen on *select* and judged on images that chose nothing.

``python -m benchmarks.compare --store URL --select STUDY --test STUDY`` reads two studies of the same policies and the
same baselines, one measured on *select*, one on the test images (`thinwire policies sweep` and `baselines` make them).
Nothing is measured here.

Every family chooses as its user would have to: on *select*. Whoever picks the best of two hundred baselines on the test
images themselves picks their luck with them, and the larger a family, the luckier its best.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deploy.cli.common import add_json, print_json, table
from policies.baseline import Baseline
from policies.pareto import non_dominated
from policies.record import MeasuredPolicy, Objectives
from policies.store import Store
from thinwire.errors import InvalidRequestError

# Losses of accuracy, on select, at which the cheapest of each family are compared.
LOSSES = (0.005, 0.01, 0.02, 0.03)
# Members that lose more are of no interest to anybody.
MOST_LOST = 0.05
SEARCHED = "searched"
COSTS: dict[str, Callable[[Objectives], float]] = {
    "channel_uses": lambda figures: figures.channel_uses,
    "edge_gmacs": lambda figures: figures.edge_gmacs,
}


@dataclass(frozen=True)
class Candidate:
    """A policy or a baseline, as measured on *select* and on the test images."""

    name: str
    select: Objectives
    test: Objectives


def best_of(members: Sequence[Candidate]) -> list[Candidate]:
    """Those that on *select* no other dominates, within reach of the unmerged accuracy."""
    near = [one for one in members if one.select.accuracy_change >= -MOST_LOST]
    if not near:
        return []
    costs = np.array([(one.select.accuracy, one.select.channel_uses, one.select.edge_gmacs) for one in near])
    return [one for one, keep in zip(near, non_dominated(costs, (True, False, False)), strict=True) if keep]


def savings(front: Sequence[Candidate], members: Sequence[Candidate]) -> dict[str, Any]:
    """Mean share of each cost that the front saves where it is, on *select*, as accurate as a family's best members.

    For each of these the cheapest policy is taken that is as accurate, or as the unmerged reference if that is less
    (what lies above it is luck, and nobody asks for it), and costs no more of the other; where there is none, nothing
    is saved, which counts. ``test_difference`` is the mean of what this choice gains on the test images.
    """
    chosen = best_of(members)
    result: dict[str, Any] = {"members": len(chosen)}
    for name, cost in COSTS.items():
        (other,) = (value for key, value in COSTS.items() if key != name)
        saved, gained = [], []
        for one in chosen:
            able = [
                policy
                for policy in front
                if policy.select.accuracy_change >= min(0.0, one.select.accuracy_change)
                and other(policy.select) <= other(one.select)
                and cost(policy.select) < cost(one.select)
            ]
            # Where none is able, the family wins: nothing is saved.
            cheapest = min(able, key=lambda policy: cost(policy.select), default=one)
            saved.append(1 - cost(cheapest.test) / cost(one.test))
            gained.append(cheapest.test.accuracy - one.test.accuracy)
        result[name] = {
            "beaten": sum(share > 0 for share in saved),
            "mean_saved": float(np.mean(saved)) if saved else None,
            "test_difference": float(np.mean(gained)) if gained else None,
        }
    return result


def cheapest(members: Sequence[Candidate], loss: float, cost: Callable[[Objectives], float]) -> dict[str, Any] | None:
    """The member of least cost within a loss of accuracy on *select*, and what it does on the test images."""
    near = [one for one in members if one.select.accuracy_change >= -loss]
    if not near:
        return None
    return stated(min(near, key=lambda one: (cost(one.select), -one.select.accuracy)))


def stated(one: Candidate) -> dict[str, Any]:
    """The figures of a choice."""
    return {
        "name": one.name,
        "select_change": one.select.accuracy_change,
        "test_change": one.test.accuracy_change,
        "test_change_se": one.test.accuracy_change_se,
        "test_accuracy": one.test.accuracy,
        "tokens": one.test.tokens,
        "channel_uses": one.test.channel_uses,
        "edge_gmacs": one.test.edge_gmacs,
    }


def headline(front: Sequence[Candidate], unmerged: Objectives) -> dict[str, Any]:
    """The policy of least cost within half a point on *select*; and the same on the test images, as their own choice.

    Cost is the sum of the shares of GMACs and of tokens, so that neither is bought with all of the other. Unmerged, an
    image costs the same on both.
    """

    def cost(figures: Objectives) -> float:
        return figures.edge_gmacs / unmerged.edge_gmacs + figures.tokens / unmerged.tokens

    def choose(seen: Callable[[Candidate], Objectives]) -> dict[str, Any]:
        near = [one for one in front if seen(one).accuracy_change >= -LOSSES[0]]
        if not near:
            raise InvalidRequestError("no policy is within half a point of the unmerged reference")
        figures = stated(min(near, key=lambda one: cost(seen(one))))
        return figures | {
            "gmacs_share": figures["edge_gmacs"] / unmerged.edge_gmacs,
            "tokens_share": figures["tokens"] / unmerged.tokens,
        }

    return {
        "chosen_on_select": choose(lambda one: one.select),
        "chosen_on_test": choose(lambda one: one.test),
    }


def paired(
    select: Sequence[MeasuredPolicy] | Sequence[Baseline], test: Sequence[MeasuredPolicy] | Sequence[Baseline]
) -> list[tuple[str, Candidate]]:
    """What both studies hold, with the family of each.

    Raises:
        InvalidRequestError: one of *select* was not measured on the test images.
    """
    on_test = {_key(one): one.objectives for one in test}
    missing = [_name(one) for one in select if _key(one) not in on_test]
    if missing:
        raise InvalidRequestError(f"not measured on the test images: {', '.join(missing)}")
    return [
        (
            one.family if isinstance(one, Baseline) else SEARCHED,
            Candidate(_name(one), one.objectives, on_test[_key(one)]),
        )
        for one in select
    ]


def _key(one: MeasuredPolicy | Baseline) -> tuple[str, str]:
    return (one.family, one.parameters_digest) if isinstance(one, Baseline) else (SEARCHED, one.policy.digest)


def _name(one: MeasuredPolicy | Baseline) -> str:
    if isinstance(one, MeasuredPolicy):
        return one.policy.id
    return " ".join([one.family, *(f"{name}={value}" for name, value in one.parameters.items())])


def compare(candidates: Sequence[tuple[str, Candidate]]) -> dict[str, Any]:
    """All of it, as JSON.

    Raises:
        InvalidRequestError: there are no baselines.
    """
    groups: dict[str, list[Candidate]] = {}
    for family, candidate in candidates:
        groups.setdefault(family, []).append(candidate)
    if "unmerged" not in groups or SEARCHED not in groups:
        raise InvalidRequestError("both studies need policies and baselines: `thinwire policies baselines` adds these")
    front = groups[SEARCHED]
    unmerged = max((one.test for one in groups["unmerged"]), key=lambda figures: figures.edge_gmacs)
    differences = [one.select.accuracy_change - one.test.accuracy_change for _, one in candidates]
    return {
        "n": front[0].test.n,
        "mean_select_less_test_change": math.fsum(differences) / len(differences),
        "cheapest": {
            f"{loss:g}": {
                family: {name: cheapest(group, loss, cost) for name, cost in COSTS.items()}
                for family, group in groups.items()
            }
            for loss in LOSSES
        },
        "savings": {family: savings(front, members) for family, members in groups.items() if family != SEARCHED},
        "headline": headline(front, unmerged),
    }


def as_text(result: dict[str, Any]) -> str:
    """Tables."""
    rows = []
    for loss, groups in result["cheapest"].items():
        for family, costs in groups.items():
            if costs["channel_uses"] is None:
                continue
            uses, gmacs = costs["channel_uses"], costs["edge_gmacs"]
            rows.append(
                {
                    "within": f"{100 * float(loss):g} points",
                    "family": family,
                    "fewest uses": f"{uses['channel_uses']:.1f}",
                    "on test": _change(uses),
                    "fewest GMACs": f"{gmacs['edge_gmacs']:.4f}",
                    "on test ": _change(gmacs),
                }
            )
    saved = [
        {
            "family": family,
            "members": str(one["members"]),
            **{f"{name} saved": _saved(one[name]) for name in COSTS},
        }
        for family, one in result["savings"].items()
    ]
    tops = "\n\n".join(
        f"headline, {name.replace('_', ' ')}\n"
        + "\n".join(
            f"  {key:16} {value:.4f}" if isinstance(value, float) else f"  {key:16} {value}"
            for key, value in top.items()
        )
        for name, top in result["headline"].items()
    )
    shift = f"changes on select are {100 * result['mean_select_less_test_change']:.2f} points above those on test"
    return "\n\n".join((*(table(one) for one in (rows, saved) if one), tops, shift))


def _change(figures: dict[str, Any]) -> str:
    return f"{100 * figures['test_change']:+.2f} ± {100 * figures['test_change_se']:.2f}"


def _saved(one: dict[str, Any]) -> str:
    if one["mean_saved"] is None:
        return "-"
    return f"{100 * one['mean_saved']:.0f} % ({one['beaten']} beaten), test {100 * one['test_difference']:+.2f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("--select", required=True, help="study of the front, and of baselines, on the select split")
    parser.add_argument("--test", required=True, help="study of the same on the test images")
    add_json(parser)
    options = parser.parse_args(arguments)
    with Store(options.store, create=False) as store:
        select, test = store.get_study(options.select), store.get_study(options.test)
        identities = [(study.bundle_digest, study.channel) for study in (select, test)]
        if identities[0] != identities[1]:
            raise InvalidRequestError(f"studies of one bundle and one channel can be compared, got {identities}")
        candidates = paired(store.front(select).policies, store.trials(test))
        candidates += paired(store.baselines(select), store.baselines(test))
    result = compare(candidates)
    print_json(result) if options.json else print(as_text(result))


if __name__ == "__main__":
    main()
