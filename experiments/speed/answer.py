"""How long an answer takes over links of 10 kHz to 10 MHz: split, as a compressed picture, and on the device alone.

``python -m experiments.speed.answer --data TAR`` compares ways to classify one image:

- split: the device sends the symbols of a policy, over AWGN, and the cloud answers;
- picture: the device sends a JPEG or WebP without what is the same in every file, of the fewest bytes with which the
  plain model is as accurate as the split one, or less so by half a point at most, at the link's capacity,
  log2(1 + SNR) bits per use and no error; the cloud runs everything;
- device: the device runs everything and sends the label likewise.

Airtime is uses over the symbol rate. Computing is timed here by the engines that serve (ONNX Runtime where the bundle
was exported), one image at a time, all ways in turn; device and cloud are both this machine with one thread, so only
the link and the shares of the work tell the ways apart.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cloud.answerer import Classifier
from deploy.cli.common import add_bundle, positive_int, seed, table
from deploy.cli.engines import cloud_classifier, edge_engine
from edge.engine import Engine
from experiments.digital.finite_blocklength import capacity
from experiments.digital.pictures import FORMS, compress
from experiments.harness import in_turn as measuring
from offline.data.images import LabelledImages, load
from offline.measure.evaluator import Evaluator
from policies.budget import Budget
from policies.choice import choose_for
from policies.fronts import Fronts
from policies.policy import Policy
from policies.record import ChannelProfile
from thinwire.bundle import FRONT, Bundle, load_bundle
from thinwire.cores import usable_cores
from thinwire.equalise import ReceivedTokens

SNR_DB = 10.0
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
    for form, size in FORMS:
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


class Ways:
    """What is timed: each gives milliseconds of computing, on the device and in the cloud together, for one image."""

    def __init__(self, engine: Engine, classifier: Classifier, images: LabelledImages) -> None:
        self._engine, self._classifier, self._images = engine, classifier, images
        self._next = 0

    def _timed(self, run: Callable[[NDArray[np.uint8]], object]) -> float:
        times = []
        for _ in range(TIMED_IMAGES):
            pixels = self._images.pixels[self._next % len(self._images)]
            self._next += 1
            begin = time.perf_counter()
            run(pixels)
            times.append(1e3 * (time.perf_counter() - begin))
        return float(np.median(times))

    def split(self, policy: Policy) -> float:
        """Median over some images of what a policy takes."""

        def run(pixels: NDArray[np.uint8]) -> None:
            symbols = self._engine.encode(pixels, policy, SNR_DB).symbols
            self._classifier.classify_frames([ReceivedTokens(symbols, 10 ** (-SNR_DB / 10))])

        return self._timed(run)

    def picture(self, form: str, size: int, quality: int) -> float:
        """Likewise of compressing, decompressing and the plain model."""

        def run(pixels: NDArray[np.uint8]) -> None:
            _, seen = compress(pixels, form, size, quality)
            self._classifier.classify_images(seen[None])

        return self._timed(run)

    def device(self) -> float:
        """Likewise of the plain model."""
        return self._timed(lambda pixels: self._classifier.classify_images(pixels[None]))


def run(bundle: Bundle, images: LabelledImages, repetitions: int, noise_seed: int) -> dict[str, Any]:
    """Measure.

    Returns:
        per way its accuracy, uses and computing time; and for each policy and rate summaries over the repetitions of
        the split's time in milliseconds, and of the picture's and the device's as ratios to it.
    """
    evaluator = Evaluator.load(bundle, images)
    # Before what is timed is loaded: torch has one number of threads for all.
    ladder = pictures(cloud_classifier(bundle, "auto", usable_cores()), images)
    engine, classifier = edge_engine(bundle, "auto", 1), cloud_classifier(bundle, "auto", 1)
    fronts = Fronts.load(bundle.path(FRONT), bundle.digest)
    bits_per_use = capacity(SNR_DB)
    ways = Ways(engine, classifier, images)
    parts: dict[str, Callable[[], float]] = {"device": ways.device}
    chosen: dict[str, dict[str, Any]] = {
        "device": {
            "uses": math.ceil(math.log2(len(bundle.labels)) / bits_per_use),
            "accuracy": plain_accuracy(classifier, images.pixels, images.labels),
        }
    }
    for name, (asked, budget) in POLICIES.items():
        policy = choose_for(bundle, fronts, asked, Budget(channel_uses=budget), "awgn", SNR_DB).policy
        measured = evaluator.measure_policy(policy, ChannelProfile("awgn", SNR_DB), noise_seed, budget)
        picture = cheapest(ladder, measured.accuracy)
        chosen[name] = {"uses": float(measured.uses.mean()), "accuracy": measured.accuracy}
        chosen[f"picture as {name}"] = picture | {"uses": math.ceil(8 * picture["bytes"] / bits_per_use)}
        parts[name] = lambda policy=policy: ways.split(policy)
        parts[f"picture as {name}"] = lambda one=picture: ways.picture(one["form"], one["size"], one["quality"])
    times = {key: np.array(values) for key, values in measuring.in_turn(parts, repetitions).items()}
    for name, values in times.items():
        chosen[name]["computing_ms"] = measuring.summary(values)
    rows = []
    for name in POLICIES:
        for rate in RATES_HZ:
            answers = {
                way: times[way] + 1e3 * chosen[way]["uses"] / rate for way in (name, f"picture as {name}", "device")
            }
            split, picture_ms, device = answers.values()
            row = {"policy": name, "rate_hz": rate, "split_ms": measuring.summary(split)}
            rows.append(
                row | {"picture": measuring.summary(picture_ms / split), "device": measuring.summary(device / split)}
            )
    return {"bundle": bundle.name, "images": len(images), "snr_db": SNR_DB, "ways": chosen, "rates": rows}


def sent_as(way: dict[str, Any]) -> str:
    """A picture's form, size, quality and bytes; nothing of other ways."""
    if "form" not in way:
        return ""
    return f"{way['form']} of {way['size']} x {way['size']}, quality {way['quality']}, {way['bytes']:.0f} bytes"


def as_text(result: dict[str, Any]) -> str:
    """Two tables: the ways, and their times by rate."""
    ways = [
        {
            "way": name,
            "accuracy": f"{100 * way['accuracy']:.1f}%",
            "uses": f"{way['uses']:.1f}",
            "computing ms": measuring.text(way["computing_ms"]),
            "sent as": sent_as(way),
        }
        for name, way in result["ways"].items()
    ]
    rates = [
        {
            "policy": row["policy"],
            "symbol rate": f"{row['rate_hz'] / 1e3:g} kHz",
            "split ms": measuring.text(row["split_ms"], 1),
            "picture, times that": measuring.text(row["picture"]),
            "device, times that": measuring.text(row["device"]),
        }
        for row in result["rates"]
    ]
    return f"{table(ways)}\n\n{table(rates)}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_bundle(parser)
    parser.add_argument("--data", required=True, help="tar or folder of class/image")
    parser.add_argument("--limit", type=positive_int, help="an even sample over the classes (default: all)")
    parser.add_argument("--seed", type=seed, default=0, help="of the noise")
    measuring.add_options(parser, repetitions=9, seconds=0.0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    bundle = load_bundle(options.bundle)
    images = load(options.data, bundle.preprocessing, bundle.labels)
    if options.limit:
        images = images.even_sample(options.limit)
    result = run(bundle, images, options.repetitions, options.seed)
    measuring.write(options.json, result)
    print(as_text(result))


if __name__ == "__main__":
    main()
