"""``thinwire policies plot``: studies as a figure or a page."""

import argparse
from pathlib import Path

DEFAULT_OBJECTIVES = "channel_uses,edge_gmacs,accuracy"


def add_to(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the action to those of ``thinwire policies``."""
    plot = actions.add_parser("plot", help="draw the trials, the front and the baselines of studies")
    plot.add_argument("study", nargs="+", help="name of a study")
    plot.add_argument("--store", required=True, help="URL of the store, as sqlite:///runs/cifar10/policies.sqlite")
    plot.add_argument(
        "--output", required=True, type=Path, help="file to write: a .png, or a .html that needs no network"
    )
    plot.add_argument(
        "--objectives",
        default=DEFAULT_OBJECTIVES,
        help="two or three of accuracy, edge_gmacs, channel_uses, tokens, latency_ms (default: %(default)s)",
    )
    plot.set_defaults(run=_plot)


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
