"""``thinwire policies``: list, show, export."""

import argparse
from pathlib import Path

from deploy.cli import plot, search
from deploy.cli.common import add_bundle, add_json, print_json, table


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("policies", help="list, show and export policies")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    listing = actions.add_parser("list", help="the policies that a bundle serves")
    add_bundle(listing)
    add_json(listing)
    listing.set_defaults(run=_list)

    show = actions.add_parser("show", help="one policy with all that was measured of it")
    show.add_argument("id")
    add_bundle(show)
    show.set_defaults(run=_show)

    export = actions.add_parser("export", help="write the front of a study to a file that edges serve from")
    export.add_argument("study", nargs="?", help="name of the study; left out, the store's studies are listed")
    export.add_argument("--store", required=True, help="URL of the store, as sqlite:///runs/cifar10/policies.sqlite")
    export.add_argument("--output", type=Path, help="file to write; an edge that serves from it picks it up by itself")
    export.set_defaults(run=_export)

    search.add_to(actions)
    plot.add_to(actions)


def _list(options: argparse.Namespace) -> None:
    from policies.front import Front
    from thinwire.bundle import FRONT, load_bundle

    bundle = load_bundle(options.bundle)
    front = Front.load(bundle.path(FRONT), bundle.digest)
    if options.json:
        print_json([measured.to_json() for measured in front.policies])
        return
    rows = []
    for measured in front.policies:
        figures = measured.objectives
        rows.append(
            {
                "id": measured.policy.id,
                "accuracy": f"{figures.accuracy:.4f}",
                "+-": f"{figures.accuracy_se:.4f}",
                "tokens": f"{figures.tokens:.1f}",
                "symbols/token": str(measured.policy.symbols_per_token),
                "uses": f"{figures.channel_uses:.1f}",
                "uses 95%": str(figures.channel_uses_p95),
                "edge GMACs": f"{figures.edge_gmacs:.4f}",
                "thresholds": " ".join(f"{threshold:.2f}" for threshold in measured.policy.thresholds),
            }
        )
    print(table(rows))


def _show(options: argparse.Namespace) -> None:
    from policies.front import Front
    from thinwire.bundle import FRONT, load_bundle

    bundle = load_bundle(options.bundle)
    print_json(Front.load(bundle.path(FRONT), bundle.digest).get(options.id).to_json())


def _export(options: argparse.Namespace) -> None:
    from policies.store import Store
    from thinwire.errors import InvalidRequestError

    # A misspelt name is to be told, and not to become an empty store.
    with Store(options.store, create=False) as store:
        studies = {study.name: study for study in store.studies()}
        if options.study is None:
            for name, study in studies.items():
                print(f"{name}  {len(store.trials(study))} policies")
            return
        if options.study not in studies:
            raise InvalidRequestError(f"no study {options.study!r} in the store: it has {', '.join(studies) or 'none'}")
        front = store.export_front(studies[options.study])
    if options.output is None:
        print_json(front.to_json())
    else:
        front.save(options.output)
        print(f"{len(front.policies)} policies in {options.output}")
