"""How long the device takes for what a budget chooses, beside the whole plain model."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

from deploy.cli.common import positive_int
from deploy.cli.engines import cloud_classifier, edge_engine
from experiments.harness.experiment import Experiment
from experiments.harness.in_turn import in_turn, median, milliseconds
from experiments.harness.options import BUNDLE, Option, repeated
from experiments.harness.report import Cell, Report, Table
from experiments.harness.setting import Setting, chosen
from offline.data.images import LabelledImages
from policies.policy import Policy
from thinwire.channels import Channel

SNR_DB = 10.0
CHANNEL = Channel("awgn", SNR_DB)
# Of the unmerged reference's channel uses.
SHARES = (0.5, 0.2, 0.1, 0.05)
# A round; a round's median is one repetition.
IMAGES = 20


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    bundle, threads = setting.bundle, setting.options.threads
    assert bundle.reference is not None
    images = setting.images(bundle, limit=IMAGES)
    assert isinstance(images, LabelledImages)
    engine, classifier = edge_engine(bundle, "auto", threads), cloud_classifier(bundle, "auto", threads)
    budgets = [None, *(int(share * bundle.reference.channel_uses) for share in SHARES)]
    choices = {uses: chosen(bundle, uses, CHANNEL) for uses in budgets}

    def encode(policy: Policy, pixels: NDArray[np.uint8]) -> object:
        return engine.encode(pixels, policy, SNR_DB)

    def median_ms(compute: Callable[[NDArray[np.uint8]], object], turns: Iterator[NDArray[np.uint8]]) -> float:
        return float(np.median([milliseconds(partial(compute, one))[0] for one in islice(turns, len(images))]))

    # Each goes round the images by itself, so that all see the same ones.
    parts = {"plain": partial(median_ms, lambda pixels: classifier.classify_images(pixels[None]), cycle(images.pixels))}
    for uses, choice in choices.items():
        parts[str(uses)] = partial(median_ms, partial(encode, choice.policy), cycle(images.pixels))
    times = in_turn(parts, setting.options.repetitions)
    blank: dict[str, Cell] = dict.fromkeys(("policy", "tokens", "edge GMACs"))
    rows: list[dict[str, Cell]] = [
        {"device runs": "the plain model", **blank, "ms": median(times["plain"]), "of the plain model's": None}
    ]
    for uses, choice in choices.items():
        encoded = [engine.encode(pixels, choice.policy, SNR_DB) for pixels in images.pixels]
        rows.append({
            "device runs": "the unmerged reference" if uses is None else f"what {uses} uses choose",
            "policy": choice.id,
            "tokens": float(np.mean([len(one.symbols) for one in encoded])),
            "edge GMACs": float(np.mean([one.edge_gmacs for one in encoded])),
            "ms": median(times[str(uses)]),
            "of the plain model's": median(times[str(uses)] / times["plain"]),
        })  # fmt: skip
    timed = ("ms", "of the plain model's")
    digits = {"ms": 2, "of the plain model's": 3, "edge GMACs": 4}
    return Report([Table(f"Batch 1, {threads} threads, {len(images)} images a round", rows, digits, timed)])


EXPERIMENT = Experiment(
    name="budget-time",
    title="How long the device takes under a budget",
    about="""
The bundle `{bundle}`, as it is served (ONNX Runtime where it was exported): the plain model on whole images, one at a
time, and the device's part (embedding, layers, merging, JSCC encoder) unmerged and under what budgets of 50%, 20%, 10%
and 5% of the reference's uses choose, AWGN at 10 dB. All take their turns on the same test images, a median each;
ratios are of two medians of one round, and intervals are of 95%.
""",
    run=run,
    packages=("onnxruntime",),
    options=BUNDLE | repeated(15) | {"threads": Option(2, "of the runtime", kind=positive_int)},
)
