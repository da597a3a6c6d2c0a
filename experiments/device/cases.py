"""What is timed of a model: thresholds that reach given counts, and all that has as many tokens."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge.engine import Encoded
from edge.torch_engine import TorchEngine
from experiments.device.subjects import RATE, SNR_DB, Oracle, Subject, random_pixels
from experiments.device.timm_tome import ToMe
from policies.policy import Policy
from thinwire.images import normalise
from thinwire.nn.merging.transformer import rules_for

# Layers from one that merges to the next, by the schedule's name; the first layer merges.
STEPS = {"every": 1, "third": 3, "fourth": 4}
# Between the last similarity that merges and the first that does not: far above what engines differ by.
LEAST_GAP = 2e-5

Run = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """Some images under one schedule.

    Attributes:
        schedule: of `STEPS`.
        counts: ``images x layers`` patch tokens that leave each layer of ours.
        macs: of a model that merges, of the plain model's, which 1 stands for.
        onnx: runs of ONNX Runtime by name, each of which computes all the images once.
        torch: likewise of torch.
    """

    schedule: str
    counts: NDArray[np.int64]
    macs: float
    onnx: dict[str, Run]
    torch: dict[str, Run]


def schedule_of(kind: str, layers: int, patches: int, moved: float) -> tuple[int, ...]:
    """Patch tokens that leave each layer.

    Args:
        kind: of `STEPS`.
        moved: tokens that merge at each such layer on average; half of what there is at most.
    """
    step = STEPS[kind]
    counts, left, wanted = [], patches, float(patches)
    for layer in range(layers):
        if layer % step == 0:
            wanted -= moved
            left = max(round(wanted), (left + 1) // 2, 1)
        counts.append(left)
    return tuple(counts)


def reached(engine: TorchEngine, pixels: NDArray[np.uint8], counts: Sequence[int]) -> tuple[float, ...]:
    """Thresholds under which images keep so many patches on average after each layer, or nearly: where similarities lie
    too close, the next."""
    tokens, thresholds = engine.embed(pixels), []
    for layer, count in enumerate(counts):
        moved = int(tokens.counts.sum()) - count * len(pixels)
        if moved <= 0:
            thresholds.append(1.0)
        else:
            best: list[Tensor] = []

            def keep(values: Tensor, best: list[Tensor] = best) -> Tensor:
                best.append(values)
                return torch.zeros_like(values, dtype=torch.bool)

            engine.run(tokens, [keep], layer)
            # Those of padding are infinitely low.
            found = best[0][best[0].isfinite()]
            ordered = [*found.sort(descending=True).values.tolist(), -1.0]
            while moved < len(ordered) - 1 and ordered[moved - 1] - ordered[moved] < LEAST_GAP:
                moved += 1
            moved = min(moved, len(ordered) - 1)
            thresholds.append((ordered[moved - 1] + ordered[moved]) / 2)
        tokens, _ = engine.run(tokens, rules_for(thresholds[-1:]), layer)
    return tuple(thresholds)


def make_cases(subject: Subject, saved: Sequence[float], schedules: Sequence[str], images: int) -> Iterator[Case]:
    """A case for each schedule and each share of MACs that is to be saved, all of the same images."""
    bundle, model = subject.bundle, subject.model
    layers, patches = bundle.split_layer, bundle.patches
    pixels = random_pixels(images, bundle.preprocessing.size)
    batch = normalise(pixels, bundle.preprocessing)
    tensor = torch.from_numpy(batch)
    plain_gmacs = subject.plain_gmacs
    plain = subject.static(model, batch)
    for kind in schedules:
        for share in saved:
            choices = [schedule_of(kind, layers, patches, moved) for moved in np.arange(0.25, patches / 2, 0.25)]
            wanted = min(choices, key=lambda counts: abs(1 - subject.gmacs(np.array([counts])) / plain_gmacs - share))
            policy = Policy(reached(subject.in_torch, pixels, wanted), RATE)
            ours = partial(_one_by_one, subject, pixels, policy)
            counts = np.array([encoded.tokens_per_layer for encoded in ours()]) - bundle.prefix_tokens
            mean = counts.mean(axis=0).round().astype(np.int64)
            tome = ToMe(model, -np.diff(mean, prepend=patches))
            onnx: dict[str, Run] = {
                "timm-onnxruntime": plain,
                "onnxruntime": ours,
                "tome-onnxruntime": subject.static(tome, batch),
            }
            if images == 1:
                onnx["oracle"] = subject.static(Oracle(subject.in_torch, counts[0]), pixels[0])
            in_torch: dict[str, Run] = {
                "timm": partial(_inferred, model, tensor),
                "torch": partial(_batch, subject.in_torch, pixels, policy),
                "tome": partial(_inferred, tome, tensor),
            }
            yield Case(kind, counts, subject.gmacs(counts) / plain_gmacs, onnx, in_torch)


def _one_by_one(subject: Subject, pixels: NDArray[np.uint8], policy: Policy) -> list[Encoded]:
    return [subject.in_onnx.encode(image, policy, SNR_DB) for image in pixels]


def _batch(engine: TorchEngine, pixels: NDArray[np.uint8], policy: Policy) -> object:
    return engine.transmit(engine.transform(pixels, rules_for(policy.thresholds)), RATE, SNR_DB)


@torch.inference_mode()
def _inferred(module: torch.nn.Module, images: Tensor) -> object:
    return module(images)
