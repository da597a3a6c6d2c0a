"""``thinwire policies``: list, show, export."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.cli import plot, search
from deploy.cli.common import add_bundle, add_json, print_json, table

if TYPE_CHECKING:
    from policies.record import MeasuredPolicy


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("policies", help="list, show and export policies")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="the policies that a bundle serves")
    add_bundle(listing)
    add_json(listing)
    listing.set_defaults(run=_list)

    show = actions.add_parser("show", help="one policy with all that was measured of it, front by front")
    show.add_argument("id")
    add_bundle(show)
    show.set_defaults(run=_show)

    export = actions.add_parser("export", help="write the fronts of studies to a file that edges serve from")
    export.add_argument(
        "study",
        nargs="*",
        help="names of studies of one bundle, each of another channel; left out, the store's studies are listed",
    )
    export.add_argument("--store", required=True, help="URL of the store, as sqlite:///runs/cifar10/policies.sqlite")
    export.add_argument("--output", type=Path, help="file to write; an edge that serves from it picks it up by itself")
    export.set_defaults(run=_export)

    search.add_to(actions)
    plot.add_to(actions)


def _list(options: argparse.Namespace) -> None:
    from policies.fronts import Fronts
    from thinwire.bundle import FRONT, load_bundle

    bundle = load_bundle(options.bundle)
    fronts = Fronts.load(bundle.path(FRONT), bundle.digest)
    if options.json:
        print_json([measured.to_json() for measured in fronts.policies])
        return
    tables = [f"{front.channel.name}\n\n{table([_row(one) for one in front.policies])}" for front in fronts.fronts]
    print("\n\n".join(tables))


def _row(measured: "MeasuredPolicy") -> dict[str, str]:
    policy, figures, below = measured.policy, measured.objectives, measured.sensitive_below_db
    return {
        "id": policy.id,
        "accuracy": f"{figures.accuracy:.4f}",
        "+-": f"{figures.accuracy_se:.4f}",
        "tokens": f"{figures.tokens:.1f}",
        "max tokens": "-" if policy.max_tokens is None else str(policy.max_tokens),
        "symbols/token": str(policy.symbols_per_token),
        "uses": f"{figures.channel_uses:.1f}",
        "uses 95%": str(figures.channel_uses_p95),
        "edge GMACs": f"{figures.edge_gmacs:.4f}",
        "sensitive below dB": "-" if below is None else f"{below:g}",
        "thresholds": " ".join(f"{threshold:.2f}" for threshold in policy.thresholds),
    }


def _show(options: argparse.Namespace) -> None:
    from policies.fronts import Fronts
    from thinwire.bundle import FRONT, load_bundle

    bundle = load_bundle(options.bundle)
    found = Fronts.load(bundle.path(FRONT), bundle.digest).get(options.id)
    print_json([measured.to_json() for measured in found])


def _export(options: argparse.Namespace) -> None:
    from policies.fronts import Fronts
    from policies.store import Store
    from thinwire.errors import InvalidRequestError

    # A misspelt name is to be told, and not to become an empty store.
    with Store(options.store, create=False) as store:
        studies = {study.name: study for study in store.studies()}
        if not options.study:
            for name, study in studies.items():
                print(f"{name}  {study.channel.name}  {len(store.trials(study))} policies")
            return
        for name in options.study:
            if name not in studies:
                raise InvalidRequestError(f"no study {name!r} in the store: it has {', '.join(studies) or 'none'}")
        fronts = Fronts(tuple(store.export_front(studies[name]) for name in options.study))
    if options.output is None:
        print_json(fronts.to_json())
    else:
        fronts.save(options.output)
        print(f"{len(fronts.policies)} policies on {len(fronts.fronts)} fronts in {options.output}")
