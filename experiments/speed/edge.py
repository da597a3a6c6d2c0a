"""What the device's side costs: ours in ONNX Runtime and in torch, against plain models, ToMe and an oracle.

``python -m experiments.speed.edge`` takes DeiT-Ti, DeiT-S and ViT-B at 224 pixels with random weights, and a shipped bundle,
and merges so that a share of the multiply-accumulates is saved, by the paper's rule and by the `narrow` one, which
compares the values of one head and weighs by size: as many tokens at every layer (`every`), or more at
every third or fourth, from the first layer on. The thresholds are such that the images at hand reach these token counts
on average. Those of ONNX Runtime are timed in turn, and then those of torch:

- `timm`, `timm-onnxruntime`: timm's own model, in torch and exported as it is, without merging;
- `torch`, `onnxruntime`: the two edge engines under those thresholds, in torch with the batch padded, on ONNX Runtime
  one image after the other;
- `tome`, `tome-onnxruntime`: timm's model with ToMe, in torch and exported as it is, merging as many tokens at each
  layer, which it is told beforehand;
- `oracle`: of one image on ONNX Runtime, a static graph of the same layers and JSCC encoder with the same token counts,
  in which tokens are cut off without any matching.

Efficiency is (time of timm-onnxruntime / time) / (MACs of the plain model / MACs that the device computes). The others
are ratios of times: that of the oracle, or of ToMe on the same runtime, to an engine's.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deploy.cli.common import DEFAULT_BUNDLE, positive_int, table
from experiments.harness.in_turn import provenance
from experiments.speed.edge_cases import STEPS, Case, make_cases
from experiments.speed.edge_models import RULES, Subject, subjects

MODELS = ("deit_tiny_patch16_224", "deit_small_patch16_224", "vit_base_patch16_224", DEFAULT_BUNDLE)
SAVED = (0.1, 0.2, 0.3, 0.4, 0.5)
# Rounds that do not count, of a single image.
WARM_UP = 3


def measure(
    runs: dict[str, Callable[[], object]], repetitions: int, warm_up: int = WARM_UP
) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of each, one after the other in every repetition: ``repetitions x 2``, of wall and processors."""
    times = {name: np.zeros((repetitions + warm_up, 2)) for name in runs}
    for repetition in range(repetitions + warm_up):
        for name, run in runs.items():
            computed, began = time.process_time(), time.perf_counter()
            run()
            times[name][repetition] = time.perf_counter() - began, time.process_time() - computed
    return {name: 1e3 * values[warm_up:] for name, values in times.items()}


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95% interval of the median, by order statistics."""
    ordered = np.sort(values)
    half = 0.98 * math.sqrt(len(values))
    low = max(0, math.floor(len(values) / 2 - half))
    high = min(len(values) - 1, math.ceil(len(values) / 2 + half))
    return float(ordered[low]), float(ordered[high])


def rows_of(subject: Subject, case: Case, times: dict[str, NDArray[np.float64]]) -> list[dict[str, Any]]:
    """One row for each engine."""
    rows = []
    for name, values in times.items():
        row: dict[str, Any] = {
            "model": subject.name,
            "rule": subject.rule,
            "engine": name,
            "batch": len(case.counts),
            "schedule": case.schedule,
            "macs_saved": 1 - case.macs[name],
            "tokens": None if name.startswith("timm") else float(case.counts[:, -1].mean()),
            "tokens_sd": None if name.startswith("timm") else float(case.counts[:, -1].std()),
            "ms": float(np.median(values[:, 0])),
            "ms_interval": interval(values[:, 0]),
            "cpu_ms": float(np.median(values[:, 1])),
        }
        ratios = {"efficiency": times["timm-onnxruntime"] / values * case.macs[name]}
        if "oracle" in times:
            ratios["efficiency_of_oracle"] = times["oracle"] / values
        ratios["of_tome"] = times["tome-onnxruntime" if name in case.onnx else "tome"] / values
        for key, ratio in ratios.items():
            row |= {key: float(np.median(ratio[:, 0])), f"{key}_interval": interval(ratio[:, 0])}
            row[f"cpu_{key}"] = float(np.median(ratio[:, 1]))
        rows.append(row)
    return rows


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows."""
    torch.set_num_threads(options.threads)
    rows = []
    for name in options.models:
        for subject in subjects(name, options.rules, options.threads):
            for images in options.batch:
                for case in make_cases(subject, options.saved, options.schedules, images):
                    # torch's threads spin on after it is done: beside it, nothing else could be measured.
                    warm_up = WARM_UP if images == 1 else 1
                    times = measure(case.onnx, options.repetitions, warm_up)
                    if not options.without_torch:
                        times |= measure(case.torch, options.repetitions, warm_up)
                    rows += rows_of(subject, case, times)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, help="timm's or shipped (default: %(default)s)")
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=list(RULES), help="of timm's")
    parser.add_argument("--batch", nargs="+", type=positive_int, default=[1, 32], help="images (default: %(default)s)")
    parser.add_argument("--saved", nargs="+", type=float, default=SAVED, help="shares of MACs (default: %(default)s)")
    parser.add_argument("--schedules", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--threads", type=positive_int, default=2)
    parser.add_argument("--repetitions", type=positive_int, default=40)
    parser.add_argument("--without-torch", action="store_true", help="leave its engines out, which take longest")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and provenance there")
    options = parser.parse_args(arguments)
    rows = run(options)
    if options.json:
        options.json.write_text(json.dumps({"provenance": provenance(), "rows": rows}, indent=2) + "\n")
    shown = ("model", "rule", "engine", "batch", "schedule", "macs_saved", "tokens", "ms", "efficiency",
             "efficiency_of_oracle", "cpu_efficiency_of_oracle", "of_tome")  # fmt: skip
    print(table([{key: _text(row.get(key)) for key in shown} for row in rows]))


def _text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str("" if value is None else value)


if __name__ == "__main__":
    main()
