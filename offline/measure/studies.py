"""Searching policies for a bundle, measuring them anew over channels, and what both leave in the store."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from channel.profiles import Profile
from offline.measure.box import search_space
from offline.measure.meter import VERSIONS
from offline.measure.workers import Task, measure, measure_all, pool, run_all
from policies.policy import MeasuredPolicy, Policy
from policies.search.objectives import MAX_LOSS, Scale, check_names
from policies.search.run import Goal, Progress, Search
from policies.search.space import SearchSpace
from policies.search.strategy import load_strategy, strategy_versions
from policies.store import Store
from policies.study import Study, Trial
from thinwire.bundle import Bundle, load_bundle
from thinwire.channels import Channel
from thinwire.errors import InvalidRequestError, StoreError
from thinwire.records import read

log = logging.getLogger(__name__)

OBJECTIVES = ("accuracy", "edge_gmacs", "channel_uses")
# From so many 10^9 MACs of an unmerged image on, the layers cost more than all that follows, at many rates and limits.
COSTLY_GMACS = 1.0
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
    names: Sequence[str],
    task: Task,
    plan: Plan,
    evaluations: int,
    processes: int = 1,
    report: Callable[[Progress], None] = lambda progress: None,
    stop_when_stagnant: bool = False,
) -> tuple[Study, ...]:
    """Search until the studies hold so many proposals together; what is in the store goes on where it stopped.

    There is one study for each channel. They propose policies in turn, and each is measured on all channels. Where the
    layers cost much beside the rest (`COSTLY_GMACS`, of a classifier, and latency is no objective), the other rates of
    the codec and the other limits on the tokens are measured with it, each alone. All of that goes into the studies.

    Args:
        store: where the studies are.
        names: of the studies, one for each channel of the task.
        task: what to measure the policies on.
        plan: how to search; of a study that goes on, the plan that it began with.
        evaluations: proposals in all, those of earlier runs included.
        processes: that measure at once. With more than one, the trials depend on timing.
        report: told where the search stands.
        stop_when_stagnant: end early when the search stands still and exploration did not help.

    Raises:
        InvalidRequestError, UnavailableError: as for `Plan.check` and `check_merging`.
        StoreError: a study is another one: of other data, another plan, another bundle, or of no search at all.
        EvaluationError: a policy could not be measured.
    """
    plan.check()
    bundle = load_bundle(str(task.bundle))
    check_merging(bundle.steps, bundle.patches)
    begun = {study.name: study.settings for study in store.studies() if study.name in names}
    for name, held in begun.items():
        if "scale" not in held:
            raise StoreError(f"study {name} is of baselines or a sweep and not of a search; choose another name")
    # Measured latencies differ from run to run: a study that goes on keeps the scale that it began with.
    new = _settings(task, plan) if len(begun) < len(names) else {}
    settings = [
        {**begun[name], **_asked(plan)} if name in begun else new[channel]
        for name, channel in zip(names, task.channels, strict=True)
    ]
    goals = []
    for name, channel, one in zip(names, task.channels, settings, strict=True):
        study = open_study(store, name, bundle, task, one, channel)
        space = read(SearchSpace, one["space"], "space")
        strategy = load_strategy(plan.strategy)(space, len(plan.objectives), task.seed)
        goals.append(Goal(study, strategy, read(Scale, one["scale"], "scale")))
    timed = replace(task, timed="latency_ms" in plan.objectives, reference_ms=settings[0]["reference_ms"])
    space = goals[0].strategy.space
    relatives: Callable[[Policy], Sequence[Policy]] = space.relatives if settings[0].get("relatives") else _none
    with pool(timed, processes) as executor:
        Search(store, goals, measure, executor, processes, report, stop_when_stagnant, relatives).run(evaluations)
    return tuple(goal.study for goal in goals)


def _none(_: Policy) -> Sequence[Policy]:
    return ()


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
        after the policies of each vector of thresholds, which are measured together: how many are measured, of how
        many, and the studies.

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
    missing.sort(key=lambda policy: (policy.thresholds, policy.symbols_per_token, policy.max_tokens or 0))
    groups = [tuple(group) for _, group in groupby(missing, key=lambda policy: policy.thresholds)]
    done = len(wanted) - len(missing)
    yield done, len(wanted), studies

    def keep(found: Sequence[Sequence[MeasuredPolicy]]) -> None:
        nonlocal done
        now = datetime.now(UTC)
        store.add_trials(
            [
                (study, Trial(measured, "sweep", None, None, now))
                for on_all in found
                for study, measured in zip(studies, on_all, strict=True)
            ]
        )
        done += len(found)

    with pool(task, processes) as executor:
        for _ in run_all(executor, measure_all, groups, processes, keep):
            yield done, len(wanted), studies


def profile_study(name: str, channel: Channel) -> str:
    """The name of the study of one channel of a sweep."""
    return f"{name}-{channel.model}-{channel.snr_db:g}"


def _settings(task: Task, plan: Plan) -> dict[Channel, dict[str, Any]]:
    """What a search on each channel begins with."""
    meter = replace(task, timed="latency_ms" in plan.objectives).meter()
    unmerged = {channel: meter.unmerged(channel) for channel in task.channels}
    bundle = meter.evaluator.bundle
    # The language model that answers a question costs more than any layers.
    is_cheap_behind = bundle.task == "classify" and "latency_ms" not in plan.objectives
    found = search_space(meter.evaluator.engine, task.images.even_sample(BOX_IMAGES))
    space = found
    if plan.box is not None:
        low, high = ([end] * bundle.steps for end in plan.box)
        space = SearchSpace.box(low, high, found.rates, found.limits)
    return {
        channel: {
            **_asked(plan),
            "scale": asdict(Scale.of_unmerged(plan.objectives, one, plan.max_loss)),
            "space": asdict(space),
            "unmerged": asdict(one),
            "reference_ms": one.latency_ms,
            "relatives": is_cheap_behind and one.edge_gmacs >= COSTLY_GMACS,
        }
        for channel, one in unmerged.items()
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
