"""How long an answer takes over links of 10 kHz to 10 MHz: split, as a compressed picture, and on the device alone."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cloud.answerer import Classifier
from deploy.cli.engines import cloud_classifier, edge_engine
from experiments.digital.compressed import compress, forms
from experiments.digital.finite_blocklength import capacity
from experiments.harness.experiment import Experiment
from experiments.harness.in_turn import in_turn, median, milliseconds
from experiments.harness.options import BUNDLE, LIMIT, repeated
from experiments.harness.report import Cell, Report, Table
from experiments.harness.setting import Setting, fronts_of
from offline.data.images import LabelledImages
from offline.measure.evaluator import Evaluator
from policies.budget import Budget
from policies.choice import choose_for
from policies.policy import Policy
from thinwire.channels import Channel
from thinwire.cores import usable_cores
from thinwire.equalise import ReceivedTokens

SNR_DB = 10.0
CHANNEL = Channel("awgn", SNR_DB)
QUALITIES = (95, 90, 85, 80, 75, 70, 60, 50, 40, 30, 20, 10, 5)
# Less than that is noise: of 5,000 images one standard error.
TOLERANCE = 0.005
# So many images a repetition.
TIMED_IMAGES = 50
RATES_HZ = (1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7)
# A budget in uses; None: the most accurate policy, and "none" the unmerged model.
POLICIES = {"unmerged": ("none", None), "most accurate": ("auto", None), "within 16 uses": ("auto", 16)}
BATCH = 64


def plain_accuracy(classifier: Classifier, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """Accuracy of the plain model."""
    parts = [classifier.classify_images(pixels[at : at + BATCH]) for at in range(0, len(pixels), BATCH)]
    return float(np.mean(np.concatenate(parts).argmax(1) == labels))


def pictures(classifier: Classifier, images: LabelledImages) -> list[dict[str, Any]]:
    """Mean bytes and accuracy of each form, size and quality."""
    found = []
    for form, size in forms(images.pixels.shape[1]):
        for quality in QUALITIES:
            files = [compress(pixels, form, size, quality) for pixels in images.pixels]
            accuracy = plain_accuracy(classifier, np.stack([seen for _, seen in files]), images.labels)
            mean = float(np.mean([len(content) for content, _ in files]))
            found.append({"form": form, "size": size, "quality": quality, "bytes": mean, "accuracy": accuracy})
    return found


def cheapest(found: Sequence[dict[str, Any]], accuracy: float) -> dict[str, Any]:
    """The one of the fewest bytes that is as accurate, within `TOLERANCE`; the most accurate one where none is."""
    enough = [one for one in found if one["accuracy"] >= accuracy - TOLERANCE]
    return min(enough, key=lambda one: one["bytes"]) if enough else max(found, key=lambda one: one["accuracy"])


def median_ms(run: Callable[[NDArray[np.uint8]], object], images: Iterator[NDArray[np.uint8]]) -> float:
    """Milliseconds of computing for one image, the median over the next `TIMED_IMAGES`."""
    times = [milliseconds(partial(run, pixels))[0] for pixels in islice(images, TIMED_IMAGES)]
    return float(np.median(times))


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    bundle = setting.bundle
    images = setting.images(bundle, limit=setting.options.limit)
    assert isinstance(images, LabelledImages)
    evaluator, fronts = Evaluator.load(bundle, images), fronts_of(bundle)
    # Before what is timed is loaded: torch has one number of threads for all.
    ladder = pictures(cloud_classifier(bundle, "auto", usable_cores()), images)
    torch.set_num_threads(1)
    engine, classifier = edge_engine(bundle, "auto", 1), cloud_classifier(bundle, "auto", 1)
    bits_per_use = capacity(SNR_DB)

    def send(policy: Policy, pixels: NDArray[np.uint8]) -> None:
        symbols = engine.encode(pixels, policy, SNR_DB).symbols
        classifier.classify_frames([ReceivedTokens(symbols, 10 ** (-SNR_DB / 10))])

    def compressed(one: dict[str, Any], pixels: NDArray[np.uint8]) -> None:
        classifier.classify_images(compress(pixels, one["form"], one["size"], one["quality"])[1][None])

    # On the device and in the cloud together.
    ways: dict[str, Callable[[NDArray[np.uint8]], object]] = {
        "device": lambda pixels: classifier.classify_images(pixels[None])
    }
    uses: dict[str, float] = {"device": math.ceil(math.log2(len(bundle.labels)) / bits_per_use)}
    accuracies = {"device": plain_accuracy(classifier, images.pixels, images.labels)}
    sent: dict[str, str] = {}
    for name, (asked, budget) in POLICIES.items():
        policy = choose_for(bundle, fronts, asked, Budget(channel_uses=budget), CHANNEL).policy
        measured = evaluator.measure_policy(policy, CHANNEL, setting.seed, budget)
        uses[name], accuracies[name] = float(measured.uses.mean()), measured.accuracy
        one, as_picture = cheapest(ladder, measured.accuracy), f"picture as {name}"
        uses[as_picture], accuracies[as_picture] = math.ceil(8 * one["bytes"] / bits_per_use), one["accuracy"]
        sent[as_picture] = "{form} of {size} x {size}, quality {quality}, {bytes:.0f} bytes".format(**one)
        ways |= {name: partial(send, policy), as_picture: partial(compressed, one)}
    turns = cycle(images.pixels)
    parts = {name: partial(median_ms, way, turns) for name, way in ways.items()}
    times = in_turn(parts, setting.options.repetitions)
    found = [
        {
            "way": name,
            "accuracy, %": 100 * accuracies[name],
            "uses": uses[name],
            "computing, ms": median(times[name]),
            "sent as": sent.get(name),
        }
        for name in ways
    ]
    rates: list[dict[str, Cell]] = []
    for name in POLICIES:
        for rate in RATES_HZ:
            split, picture_ms, device = (
                times[way] + 1e3 * uses[way] / rate for way in (name, f"picture as {name}", "device")
            )
            rates.append({
                "policy": name,
                "symbol rate, kHz": f"{rate / 1e3:g}",
                "split, ms": median(split),
                "picture, times that": median(picture_ms / split),
                "device, times that": median(device / split),
            })  # fmt: skip
    timed = ("split, ms", "picture, times that", "device, times that")
    return Report(
        [
            Table(f"The ways, {len(images)} images", found, {"computing, ms": 2}, ("computing, ms",)),
            Table("Time to answer", rates, dict.fromkeys(timed[1:], 2), timed),
        ]
    )


EXPERIMENT = Experiment(
    name="answer",
    title="Time to answer over the link's rate",
    about="""
Ways to classify one image at 10 dB:

- split: the device sends the symbols of a policy, over AWGN, and the cloud answers;
- picture: the device sends a JPEG or WebP without what is the same in every file, of the fewest bytes with which the
  plain model is as accurate as the split one, or less so by half a point at most, at the link's capacity,
  log2(1 + SNR) bits per use and no error; the cloud runs everything;
- device: the device runs everything and sends the label likewise.

Airtime is uses over the symbol rate. Computing is timed by the engines that serve (ONNX Runtime where the bundle was
exported), one image at a time, all ways in turn; device and cloud are both this machine with one thread, so only the
link and the shares of the work tell the ways apart.
""",
    run=run,
    packages=("onnxruntime",),
    options=BUNDLE | LIMIT | repeated(9),
)
