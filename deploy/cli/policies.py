"""``thinwire policies``: list, show, export, plot, and the actions of `deploy.cli.find_policies`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.cli import find_policies as search
from deploy.cli.common import add_bundle, add_json, print_json, table

if TYPE_CHECKING:
    from policies.policy import MeasuredPolicy


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("policies", help="search, measure, list, draw and export policies")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    listing = actions.add_parser(
        "list", help="the policies that a bundle serves; or a store's studies, or one's trials"
    )
    listing.add_argument(
        "study", nargs="?", help="of the store, whose trials to list; left out, its studies are listed"
    )
    listing.add_argument("--store", metavar="URL", help="list what it holds and not what the bundle serves")
    add_bundle(listing)
    add_json(listing)
    listing.set_defaults(run=_list)

    show = actions.add_parser("show", help="one policy with all that was measured of it, front by front")
    show.add_argument("id")
    show.add_argument("--store", metavar="URL", help="what its studies measured and not what the bundle serves")
    add_bundle(show)
    show.set_defaults(run=_show)

    export = actions.add_parser("export", help="write the fronts of studies to a file that edges serve from")
    export.add_argument("study", nargs="+", help="studies of one bundle, each of another channel")
    export.add_argument("--store", required=True, help="URL of the store, as sqlite:///runs/cifar10/policies.sqlite")
    export.add_argument("--output", type=Path, help="file to write; an edge that serves from it picks it up by itself")
    export.set_defaults(run=_export)

    search.add_to(actions)

    plot = actions.add_parser("plot", help="draw the trials, the front and the baselines of studies")
    plot.add_argument("study", nargs="+", help="name of a study")
    plot.add_argument("--store", required=True, help="URL of the store, as sqlite:///runs/cifar10/policies.sqlite")
    plot.add_argument(
        "--output", required=True, type=Path, help="file to write: a .png, or a .html that needs no network"
    )
    plot.add_argument(
        "--objectives",
        default="channel_uses,edge_gmacs,accuracy",
        help="two or three of accuracy, edge_gmacs, channel_uses, tokens, latency_ms (default: %(default)s)",
    )
    plot.set_defaults(run=_plot)


def _list(options: argparse.Namespace) -> None:
    from policies.fronts import Fronts
    from thinwire.bundle import FRONT, load_bundle
    from thinwire.errors import InvalidRequestError

    if options.store is not None:
        _list_store(options)
        return
    if options.study is not None:
        raise InvalidRequestError(f"study {options.study} of which store? name it with --store")
    bundle = load_bundle(options.bundle)
    fronts = Fronts.load(bundle.path(FRONT), bundle.digest)
    if options.json:
        print_json([measured.to_json() for measured in fronts.policies])
        return
    tables = [f"{front.channel.name}\n\n{table([_row(one) for one in front.policies])}" for front in fronts.fronts]
    print("\n\n".join(tables))


def _list_store(options: argparse.Namespace) -> None:
    from policies.store import Store

    # A misspelt name is to be told, and not to become an empty store.
    with Store(options.store, create=False) as store:
        if options.study is not None:
            log = store.trial_log(store.get_study(options.study))
            rows = [
                {
                    "source": trial.source or "-",
                    "suggesting s": _seconds(trial.suggesting_seconds),
                    "measuring s": _seconds(trial.seconds),
                    **_row(trial.measured),
                }
                for trial in log
            ]
            content = [
                {
                    "source": trial.source,
                    "suggesting_seconds": trial.suggesting_seconds,
                    "seconds": trial.seconds,
                    **trial.measured.to_json(),
                }
                for trial in log
            ]
        else:
            content = [
                {
                    "study": study.name,
                    "bundle": study.bundle_name,
                    "channel": study.channel.name,
                    "split": study.split,
                    "strategy": study.settings.get("strategy", ""),
                    "seed": study.seed,
                    "trials": len(store.trials(study)),
                    "baselines": len(store.baselines(study)),
                    "created": study.created.isoformat(timespec="seconds"),
                }
                for study in store.studies()
            ]
            rows = [{name: str(value) or "-" for name, value in row.items()} for row in content]
    if options.json:
        print_json(content)
    elif rows:
        print(table(rows))


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f}"


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
    from thinwire.errors import UnknownPolicyError

    if options.store is not None:
        from policies.store import Store

        with Store(options.store, create=False) as store:
            found = [
                {"study": study.name, **measured.to_json()}
                for study in store.studies()
                for measured in store.trials(study)
                if measured.policy.id == options.id
            ]
        if not found:
            raise UnknownPolicyError(f"no study of the store measured a policy {options.id[:80]!r}")
        print_json(found)
        return
    bundle = load_bundle(options.bundle)
    print_json([measured.to_json() for measured in Fronts.load(bundle.path(FRONT), bundle.digest).get(options.id)])


def _export(options: argparse.Namespace) -> None:
    from policies.fronts import Fronts
    from policies.store import Store

    with Store(options.store, create=False) as store:
        studies = [store.get_study(name) for name in options.study]
        fronts = Fronts(tuple(store.export_front(study) for study in studies))
    if options.output is None:
        print_json(fronts.to_json())
    else:
        fronts.save(options.output)
        print(f"{len(fronts.policies)} policies on {len(fronts.fronts)} fronts in {options.output}")


def _plot(options: argparse.Namespace) -> None:
    from policies.plot.data import StudyData, choose_axes
    from policies.plot.draw import check_suffix, draw_fronts
    from policies.store import Store

    axes = choose_axes(options.objectives.split(","))
    check_suffix(options.output, ".png", ".html")
    # A misspelt name is to be told, and not to become an empty store.
    with Store(options.store, create=False) as store:
        chosen = [store.get_study(name) for name in options.study]
        drawn = [StudyData(study, store.trials(study), store.baselines(study)) for study in chosen]
    draw_fronts(drawn, axes, options.output)
    print(f"{', '.join(options.study)} in {options.output}")
