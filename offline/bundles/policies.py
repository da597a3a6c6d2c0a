"""What a bundle ships beside its weights: the unmerged reference, and the fronts of policies, a search per channel."""

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

from offline.measure.evaluator import Evaluator, Measurement
from offline.measure.judges import Samples
from offline.measure.studies import Plan, channel_of, front_policies, profile_study, search, sweep
from offline.measure.workers import Task
from offline.recipes.recipe import SearchRecipe
from offline.train.running import load_state
from policies.fronts import Fronts
from policies.policy import Policy
from policies.search.run import Progress
from policies.serviceable import worth_their_compute
from policies.store import Store
from policies.study import Study
from thinwire.bundle import FRONT, Bundle, Reference
from thinwire.channels import Channel
from thinwire.errors import BundleError, BundleMismatchError, InvalidRequestError
from thinwire.nn.placement import CPU, Placement

log = logging.getLogger(__name__)
POLICIES = "policies.sqlite"
# Of the fronts that the build wrote last.
FRONT_DIGEST = "front.digest"
REFERENCE_SNR_DB = 10.0
REFERENCE_LOSS = 0.005


def check_search(recipe: SearchRecipe) -> None:
    """Check that a search can be carried out, before hours of training rather than after them.

    Raises:
        InvalidRequestError: there is no such channel, or two are one.
        UnavailableError: the library that searches is not installed.
    """
    Plan(max_loss=recipe.max_loss).check()
    # By the study's name, which tells them apart in the store.
    seen: dict[str, str] = {}
    for text in recipe.channels:
        try:
            name = profile_study("", channel_of(text))
        except InvalidRequestError as error:
            raise InvalidRequestError(f"search.channels: {error}") from None
        if name in seen:
            raise InvalidRequestError(
                f"search.channels: expected different ones, got {seen[name]!r} and {text!r}, which are one"
            )
        seen[name] = text


def check_designed(recipe: SearchRecipe, steps: int) -> None:
    """Check that designed policies fit a bundle whose tokens merge so often.

    Raises:
        InvalidRequestError: one does not.
    """
    for one in recipe.designed:
        if len(one.thresholds) != steps:
            raise InvalidRequestError(
                f"search.designed: expected {steps} thresholds, one for each time that tokens merge, "
                f"got {len(one.thresholds)}"
            )


def check_work(work: Path) -> None:
    """Check that what an earlier run left in a build's folder can be read; makes nothing.

    Raises:
        StoreError: the policy store cannot.
        InvalidRequestError: a checkpoint cannot.
    """
    for checkpoint in sorted(work.glob("*.ckpt")):
        load_state(checkpoint, "cpu", None)
    if (work / POLICIES).exists():
        with Store(_store(work)):
            pass


def _store(work: Path) -> str:
    return f"sqlite:///{work / POLICIES}"


def with_policies(
    bundle: Bundle, select: Samples, recipe: SearchRecipe, work: Path, seed: int, placement: Placement = CPU
) -> Bundle:
    """The bundle with its unmerged reference measured and its fronts found, both saved.

    Args:
        bundle: its weights are on disk.
        select: images that nothing was trained on.
        recipe: how to search.
        work: folder of the policy store; what is there goes on where it stopped.
        seed: of the searches and the noise.
        placement: where the weights lie while they are measured; on the CPU by default.
    """
    reference, measured = measure_reference(Evaluator.load(bundle, select, placement), seed)
    for rate, one in measured.items():
        log.info("unmerged, %d symbols per token: accuracy %.4f", rate, one.accuracy)
    bundle = replace(bundle, reference=reference)
    bundle.save()
    with Store(_store(work)) as store:
        _save(find_fronts(store, bundle, select, recipe, seed, placement=placement), bundle, work / FRONT_DIGEST)
    return bundle


def _save(fronts: Fronts, bundle: Bundle, written: Path) -> None:
    """Write the fronts, unless others were exported into the bundle since the build last wrote its own."""
    path = bundle.path(FRONT)
    try:
        there = Fronts.load(path, bundle.digest).digest
    except (BundleError, BundleMismatchError):
        there = None
    if there is not None and written.exists() and there != written.read_text():
        log.warning("kept the policies that were exported to %s; delete it and build again for the search's own", path)
        return
    fronts.save(path)
    written.write_text(fronts.digest)


def measure_reference(evaluator: Evaluator, seed: int) -> tuple[Reference, dict[int, Measurement]]:
    """Find the unmerged reference.

    Args:
        evaluator: over the *select* split.

    Returns:
        the reference, and what the unmerged model gives at every rate of the codec, AWGN, `REFERENCE_SNR_DB`.
    """
    bundle = evaluator.bundle
    channel = Channel("awgn", REFERENCE_SNR_DB)
    transformed = evaluator.transform([None] * bundle.steps)
    measured = {rate: evaluator.measure(transformed, rate, channel, seed) for rate in bundle.codec.rates}
    best = max(one.accuracy for one in measured.values())
    rate = min(rate for rate, one in measured.items() if one.accuracy >= best - REFERENCE_LOSS)
    chosen = measured[rate]
    reference = Reference(
        symbols_per_token=rate,
        channel_uses=int(chosen.uses.max()),
        accuracy=chosen.accuracy,
        accuracy_se=chosen.accuracy_se,
        n=len(chosen.right),
        snr_db=REFERENCE_SNR_DB,
    )
    return reference, measured


def find_fronts(
    store: Store,
    bundle: Bundle,
    select: Samples,
    recipe: SearchRecipe,
    seed: int,
    processes: int = 1,
    placement: Placement = CPU,
) -> Fronts:
    """Search on a sample of *select* for all channels, then measure all that was found or designed on the whole of it.

    Of what is serviceable then, what is worth its compute is kept (`policies.serviceable.worth_their_compute`).

    The second pass thins out the luck that got a policy onto the first front. It does not remove it: the sample is part
    of *select*, and its images meet the same noise again. Only a split that chose nothing gives an unbiased figure.

    Args:
        store: where the studies are; what is there goes on where it stopped.
        bundle: whose policies to find.
        select: images that nothing was trained on.
        recipe: how long to search, and on which channels.
        seed: of the searches and the noise.
        processes: that measure at once.
        placement: where the weights lie.
    """
    channels = tuple(map(channel_of, recipe.channels))
    # Another bundle of this name, or another recipe, has other studies.
    asked = hashlib.sha256(repr(recipe).encode()).hexdigest()
    name = f"{bundle.name}-{bundle.digest[:10]}-{asked[:6]}"
    plan = Plan(max_loss=recipe.max_loss)
    task = Task(bundle.folder, select.even_sample(recipe.images), "select", channels, seed, placement=placement)
    names = [profile_study(f"{name}-found", channel) for channel in channels]
    searched = search(store, names, task, plan, recipe.evaluations, processes, _log)
    policies = front_policies(store, searched)
    policies += [Policy.create(one.thresholds, rate) for one in recipe.designed for rate in one.rates]
    task = replace(task, images=select, snrs_db=recipe.front_snrs_db)
    studies: tuple[Study, ...] = ()
    for done, wanted, studies in sweep(store, f"{name}-front", task, policies, processes):  # noqa: B007
        log.info("measured anew: %d of %d", done, wanted)
    fronts = (store.export_front(study) for study in studies)
    return Fronts(
        tuple(replace(front, policies=worth_their_compute(front.policies, front.channel.snr_db)) for front in fronts)
    )


def _log(progress: Progress) -> None:
    log.info(
        "%s %d/%d: hypervolume %.4f, %.0f s left",
        progress.study, progress.evaluations, progress.wanted, progress.hypervolume, progress.seconds_left,
    )  # fmt: skip
