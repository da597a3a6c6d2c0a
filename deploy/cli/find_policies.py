"""``thinwire policies search``, ``sweep`` and ``baselines``: what fills a store."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.cli.common import (
    add_bundle,
    add_json,
    add_placement,
    finite,
    load_to_measure,
    positive,
    positive_int,
    print_json,
    seed,
)

if TYPE_CHECKING:
    from offline.measure.workers import Task
    from policies.search.run import Progress
    from policies.store import Store
    from policies.study import Study


def add_to(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the actions."""
    search = actions.add_parser("search", help="search policies, into a study of a store")
    search.add_argument("study", help="name of the study")
    _add_measuring(search, processes=True, channel=True)
    search.add_argument(
        "--strategy",
        default="qlognehvi",
        choices=("qlognehvi", "ehvi", "random", "sobol", "nsga2"),
        help="ehvi takes what was measured for the truth, as if it had no noise (default: %(default)s)",
    )
    search.add_argument(
        "--objectives",
        default="accuracy,edge_gmacs,channel_uses",
        metavar="A,B,...",
        help="two or more of accuracy, edge_gmacs, channel_uses, tokens, latency_ms (default: %(default)s)",
    )
    search.add_argument("--evaluations", type=positive_int, default=100, metavar="N", help="proposals in all")
    search.add_argument("--box", type=finite, nargs=2, metavar=("LOW", "HIGH"), help="thresholds; found if left out")
    search.add_argument(
        "--max-loss", type=positive, default=0.1, metavar="L", help="accuracy that a policy may lose (default: 0.1)"
    )
    search.add_argument("--resume", action="store_true", help="go on with the study if the store has it")
    search.add_argument("--stop-when-stagnant", action="store_true", help="end early when nothing is gained any more")
    search.set_defaults(run=_search)

    sweep = actions.add_parser("sweep", help="measure the fronts of studies anew, over SNRs and channels")
    sweep.add_argument("studies", nargs="+", metavar="STUDY", help="whose fronts to measure")
    sweep.add_argument("--name", required=True, help="of the new studies; each channel's own name is added")
    _add_measuring(sweep, processes=True)
    sweep.add_argument("--channels", nargs="+", default=["awgn:10"], metavar="MODEL:DB", help="one study for each")
    sweep.add_argument(
        "--snrs", type=finite, nargs="+", default=[-5, 0, 5, 10, 15, 20], metavar="DB", help="of the accuracy curves"
    )
    sweep.set_defaults(run=_sweep)

    baselines = actions.add_parser("baselines", help="measure what policies are compared with, into a study")
    baselines.add_argument("study", help="name of the study; made if the store does not have it")
    _add_measuring(baselines, channel=True)
    baselines.set_defaults(run=_baselines)


def _add_measuring(parser: argparse.ArgumentParser, processes: bool = False, channel: bool = False) -> None:
    add_bundle(parser)
    parser.add_argument("--store", required=True, metavar="URL", help="as sqlite:///policies.sqlite")
    parser.add_argument("--data", required=True, help="as for `thinwire evaluate`")
    parser.add_argument(
        "--split",
        default="select",
        choices=("select", "test"),
        help="select: the tenth of the data that `bundle build` keeps from training; test: all of it (default: select)",
    )
    parser.add_argument("--images", type=positive_int, metavar="N", help="an even sample over the classes")
    parser.add_argument("--seed", type=seed, default=0, help="of the noise and the search")
    add_placement(parser)
    add_json(parser)
    if processes:
        parser.add_argument("--processes", type=positive_int, default=1, metavar="N", help="that measure at once")
    if channel:
        parser.add_argument("--channel", default="awgn:10", metavar="MODEL:DB", help="default: %(default)s")


def _task(options: argparse.Namespace, channels: list[str], snrs_db: tuple[float, ...] = ()) -> "Task":
    from channel.profiles import Profile
    from offline.measure.studies import channel_of
    from offline.measure.workers import Task
    from thinwire.bundle import load_bundle

    profiles = tuple(dict.fromkeys(map(channel_of, channels)))
    for snr_db in snrs_db:
        Profile(snr_db=snr_db)
    bundle = load_bundle(options.bundle)
    images, placement = load_to_measure(bundle, options, options.images)
    return Task(Path(bundle.folder), images, options.split, profiles, options.seed, snrs_db, placement=placement)


def _search(options: argparse.Namespace) -> None:
    from offline.measure.studies import Plan, check_merging, search
    from policies.store import Store
    from thinwire.bundle import load_bundle
    from thinwire.errors import InvalidRequestError

    box = None if options.box is None else tuple(options.box)
    plan = Plan(options.strategy, tuple(options.objectives.split(",")), box, options.max_loss)
    plan.check()
    bundle = load_bundle(options.bundle)
    check_merging(bundle.steps, bundle.patches)
    with Store(options.store) as store:
        if not options.resume and options.study in {study.name for study in store.studies()}:
            raise InvalidRequestError(f"the store has a study {options.study}: --resume goes on with it")
        studies = search(
            store,
            [options.study],
            _task(options, [options.channel]),
            plan,
            options.evaluations,
            options.processes,
            _show,
            options.stop_when_stagnant,
        )
        _report(store, list(studies), options.json)


def _show(progress: "Progress") -> None:
    stagnant = progress.stagnation is not None and progress.stagnation.is_stagnant
    print(
        f"{progress.evaluations}/{progress.wanted} hypervolume {progress.hypervolume:.4f}, "
        f"{progress.seconds_left:.0f} s left{f', stagnant: {progress.stagnation}' if stagnant else ''}",
        file=sys.stderr,
    )


def _sweep(options: argparse.Namespace) -> None:
    from offline.measure.studies import front_policies, sweep
    from policies.store import Store

    with Store(options.store, create=False) as store:
        policies = front_policies(store, [store.get_study(name) for name in options.studies])
        studies: tuple[Study, ...] = ()
        task = _task(options, options.channels, tuple(options.snrs))
        for done, wanted, studies in sweep(store, options.name, task, policies, options.processes):  # noqa: B007
            print(f"{done}/{wanted}", file=sys.stderr)
        _report(store, list(studies), options.json)


def _baselines(options: argparse.Namespace) -> None:
    from offline.measure.baselines import measure_baselines
    from policies.store import Store

    with Store(options.store) as store:
        task = _task(options, [options.channel])
        for baseline in measure_baselines(store, options.study, task):
            print(f"{baseline.family} {baseline.parameters}: {baseline.objectives.accuracy:.4f}", file=sys.stderr)
        _report(store, [store.get_study(options.study)], options.json)


def _report(store: "Store", studies: "list[Study]", as_json: bool) -> None:
    found = [
        {
            "study": study.name,
            "trials": len(store.trials(study)),
            "front": len(store.front(study).policies) if store.trials(study) else 0,
            "baselines": len(store.baselines(study)),
        }
        for study in studies
    ]
    if as_json:
        print_json(found)
        return
    for one in found:
        print("{study}: {trials} trials, {front} on the front, {baselines} baselines".format(**one))
