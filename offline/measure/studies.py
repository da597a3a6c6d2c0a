"""Searching policies for a bundle, measuring them anew over channels, and what both leave in the store."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from channel.profiles import Profile
from offline.measure.box import search_space
from offline.measure.meter import VERSIONS
from offline.measure.workers import Task, measure, measure_on_all, pool, run_all
from policies.policy import MeasuredPolicy, Policy
from policies.search.objectives import MAX_LOSS, Scale, check_names
from policies.search.run import Progress, Search
from policies.search.space import SearchSpace
from policies.search.strategy import load_strategy, strategy_versions
from policies.store import Store
from policies.study import Study
from thinwire.bundle import Bundle, load_bundle
from thinwire.channels import Channel
from thinwire.errors import InvalidRequestError, StoreError
from thinwire.records import read

log = logging.getLogger(__name__)

OBJECTIVES = ("accuracy", "edge_gmacs", "channel_uses")
# Images from which the box of thresholds is found.
BOX_IMAGES = 256


@dataclass(frozen=True)
class Plan:
    """How to search.

    Attributes:
        strategy: a name that `policies.search.strategy.load_strategy` knows.
        objectives: names of two or more objectives.
        box: the least and the greatest threshold, of every layer; found from the layers' similarities where it is None.
        max_loss: accuracy that a policy may lose against the unmerged reference before it counts for nothing.
    """

    strategy: str = "qlognehvi"
    objectives: tuple[str, ...] = OBJECTIVES
    box: tuple[float, float] | None = None
    max_loss: float = MAX_LOSS

    def check(self) -> None:
        """Check what can be checked before anything is measured.

        Raises:
            InvalidRequestError: there is no such strategy or objective, or the box is none.
            UnavailableError: the strategy's library is not installed.
        """
        load_strategy(self.strategy)
        check_names(self.objectives)
        if self.box is not None and not -1 <= self.box[0] <= self.box[1] <= 1:
            raise InvalidRequestError(f"a box must rise from at least -1 to at most 1, got {list(self.box)}")


def check_merging(layers: int, patches: int, fields: tuple[str, str] = ("split_layer", "patches")) -> None:
    """Check that a device's half leaves something to choose: layers that merge tokens, and tokens to merge.

    Args:
        layers: on the device.
        patches: of an image.
        fields: what the two are called where they are stated.

    Raises:
        InvalidRequestError: there is none; without, a search has no thresholds.
    """
    if layers < 1:
        raise InvalidRequestError(f"{fields[0]}: expected a layer or more in which tokens merge, got {layers}")
    if patches < 2:
        raise InvalidRequestError(f"{fields[1]}: expected two patches or more of an image, to be merged, got {patches}")


def search(
    store: Store,
    name: str,
    task: Task,
    plan: Plan,
    evaluations: int,
    processes: int = 1,
    report: Callable[[Progress], None] = lambda progress: None,
    stop_when_stagnant: bool = False,
) -> Study:
    """Search until a study holds so many trials; one that is in the store goes on where it stopped.

    Args:
        store: where the study is.
        name: of the study.
        task: what to measure the policies on; of its channels there must be one.
        plan: how to search; of a study that goes on, the plan that it began with.
        evaluations: trials in all, those of earlier runs included.
        processes: that measure at once. With more than one, the trials depend on timing.
        report: told where the search stands.
        stop_when_stagnant: end early when the search stands still and exploration did not help.

    Raises:
        InvalidRequestError, UnavailableError: as for `Plan.check` and `check_merging`.
        StoreError: the study is another one: of other data, another plan, another bundle, or of no search at all.
        EvaluationError: a policy could not be measured.
    """
    plan.check()
    bundle = load_bundle(str(task.bundle))
    check_merging(bundle.split_layer, bundle.patches)
    begun = next((study for study in store.studies() if study.name == name), None)
    if begun is not None and "scale" not in begun.settings:
        raise StoreError(f"study {name} is of baselines or a sweep and not of a search; choose another name")
    # Measured latencies differ from run to run: a study that goes on keeps the scale that it began with.
    settings = _settings(task, plan) if begun is None else {**begun.settings, **_asked(plan)}
    study = open_study(store, name, bundle, task, settings)
    scale, space = read(Scale, settings["scale"], "scale"), read(SearchSpace, settings["space"], "space")
    strategy = load_strategy(plan.strategy)(space, len(plan.objectives), task.seed)
    timed = replace(task, timed="latency_ms" in plan.objectives, reference_ms=settings["reference_ms"])
    with pool(timed, processes) as executor:
        Search(store, study, strategy, scale, measure, executor, processes, report, stop_when_stagnant).run(evaluations)
    return study


def open_study(
    store: Store, name: str, bundle: Bundle, task: Task, settings: dict[str, Any], channel: Channel | None = None
) -> Study:
    """The study of that name, made where there is none.

    Args:
        channel: the one of the task's channels that it is of; the first when left out.

    Raises:
        StoreError: the study is another one.
    """
    return store.study(
        Study(
            name,
            bundle_name=bundle.name,
            bundle_digest=bundle.digest,
            channel=channel or task.channels[0],
            split=task.split,
            data_digest=task.images.digest(),
            seed=task.seed,
            versions=VERSIONS,
            settings=settings,
        )
    )


def check_study(study: Study, task: Task) -> None:
    """Check that a study is of a task's images, channel and noise, whatever its settings.

    Raises:
        StoreError: it is not.
    """
    bundle = load_bundle(str(task.bundle))
    have = (study.bundle_digest, study.channel, study.split, study.data_digest, study.seed)
    want = (bundle.digest, task.channels[0], task.split, task.images.digest(), task.seed)
    names = ("bundle", "channel", "split", "data", "seed")
    differing = [
        f"{name} is {one!r}, got {other!r}" for name, one, other in zip(names, have, want, strict=True) if one != other
    ]
    if differing:
        raise StoreError(f"study {study.name} is another one: {'; '.join(differing)}; choose another name")


def sweep(
    store: Store, name: str, task: Task, policies: Iterable[Policy], processes: int = 1
) -> Iterator[tuple[int, int, tuple[Study, ...]]]:
    """Measure policies on every channel of a task, into one study per channel; what is there is not measured again.

    Args:
        store: where the studies are.
        name: of the studies, to which each channel's own name is added; see `profile_study`.
        task: images, channels and SNRs.
        policies: what to measure.
        processes: that measure at once.

    Yields:
        after each policy, how many are measured, of how many, and the studies.

    Raises:
        StoreError: a study of that name is another one.
        EvaluationError: a process died.
    """
    bundle = load_bundle(str(task.bundle))
    studies = tuple(
        open_study(store, profile_study(name, channel), bundle, task, {"snrs_db": list(task.snrs_db)}, channel)
        for channel in task.channels
    )
    held = [{measured.policy.digest for measured in store.trials(study)} for study in studies]
    wanted = {policy.digest: policy for policy in policies}
    missing = [policy for digest, policy in wanted.items() if not all(digest in one for one in held)]
    # Neighbours in this order share the work of the blocks.
    missing.sort(key=lambda policy: (policy.thresholds, policy.symbols_per_token, policy.max_tokens or 0))
    held_already = len(wanted) - len(missing)
    yield held_already, len(wanted), studies

    def keep(found: tuple[MeasuredPolicy, ...]) -> None:
        for study, measured in zip(studies, found, strict=True):
            store.add_trial(study, measured, source="sweep")

    with pool(task, processes) as executor:
        for done, _ in enumerate(run_all(executor, measure_on_all, missing, processes, keep), held_already + 1):
            yield done, len(wanted), studies


def profile_study(name: str, channel: Channel) -> str:
    """The name of the study of one channel of a sweep."""
    return f"{name}-{channel.model}-{channel.snr_db:g}"


def _settings(task: Task, plan: Plan) -> dict[str, Any]:
    meter = replace(task, timed="latency_ms" in plan.objectives).meter()
    unmerged = meter.unmerged()
    bundle = meter.evaluator.bundle
    found = search_space(meter.evaluator.engine, task.images.even_sample(BOX_IMAGES))
    space = found
    if plan.box is not None:
        low, high = ([end] * bundle.split_layer for end in plan.box)
        space = SearchSpace.box(low, high, found.rates, found.limits)
    return {
        **_asked(plan),
        "scale": asdict(Scale.of_unmerged(plan.objectives, unmerged, plan.max_loss)),
        "space": asdict(space),
        "unmerged": asdict(unmerged),
        "reference_ms": unmerged.latency_ms,
    }


def _asked(plan: Plan) -> dict[str, Any]:
    return {
        "strategy": plan.strategy,
        "strategy_versions": strategy_versions(plan.strategy),
        "objectives": list(plan.objectives),
        "box": None if plan.box is None else list(plan.box),
        "max_loss": plan.max_loss,
    }


def channel_of(text: str) -> Channel:
    """A channel profile from text like ``awgn:10`` or ``rician:k_db=3:10``.

    Raises:
        InvalidRequestError: it is not of that form, there is no such model, or no channel serves that SNR.
    """
    model, _, snr_db = text.rpartition(":")
    try:
        level = float(snr_db)
    except ValueError:
        raise InvalidRequestError(f"expected a channel such as awgn:10, got {text!r}") from None
    served = Profile(model, level)
    return Channel(served.model, served.snr_db)


def front_policies(store: Store, studies: Sequence[Study]) -> list[Policy]:
    """The policies of the fronts of several studies, each once."""
    found = {one.policy.digest: one.policy for study in studies for one in store.front(study).policies}
    return list(found.values())
