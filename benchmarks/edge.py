"""What the device's side costs: ours in ONNX Runtime and in torch, against plain models and against an oracle.

``python -m benchmarks.edge`` builds DeiT-Ti, DeiT-S and ViT-B at 224 pixels with random weights, and merges so that a
share of the multiply-accumulates is saved: as many tokens at every layer (`every`), or more at every third or fourth,
from the first layer on. The thresholds are such that the image at hand reaches these token counts. Those of ONNX
Runtime are timed in turn, and then those of torch:

- `timm`, `timm-onnxruntime`: timm's own model, in torch and exported as it is, without merging;
- `torch`, `onnxruntime`: the two edge engines under those thresholds;
- `tome`: ToMe's rule in our torch engine, merging as many tokens at each layer;
- `oracle`: on ONNX Runtime, one static graph of the same layers and JSCC encoder with the same token counts, in which
  tokens are cut off without any matching.

Efficiency is (time of timm-onnxruntime / time) / (MACs of the plain model / MACs that the device computes).
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.edge_models import STEPS, Case, make_cases, plain_onnx
from benchmarks.measuring import provenance
from deploy.cli.common import positive_int, table
from thinwire.nn.backbone import build_backbone

MODELS = ("deit_tiny_patch16_224", "deit_small_patch16_224", "vit_base_patch16_224")
SAVED = (0.1, 0.2, 0.3, 0.4, 0.5)
WARM_UP = 3
PLAIN = "timm-onnxruntime"


def measure(runs: dict[str, Callable[[], object]], repetitions: int) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of each, one after the other in every repetition: ``repetitions x 2``, of wall and processors."""
    times = {name: np.zeros((repetitions + WARM_UP, 2)) for name in runs}
    for repetition in range(repetitions + WARM_UP):
        for name, run in runs.items():
            computed, began = time.process_time(), time.perf_counter()
            run()
            times[name][repetition] = time.perf_counter() - began, time.process_time() - computed
    return {name: 1e3 * values[WARM_UP:] for name, values in times.items()}


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95% interval of the median, by order statistics."""
    ordered = np.sort(values)
    half = 0.98 * math.sqrt(len(values))
    low = max(0, math.floor(len(values) / 2 - half))
    high = min(len(values) - 1, math.ceil(len(values) / 2 + half))
    return float(ordered[low]), float(ordered[high])


def rows_of(case: Case, times: dict[str, NDArray[np.float64]]) -> list[dict[str, Any]]:
    """One row for each engine."""
    rows = []
    for name, values in times.items():
        is_plain = name.startswith("timm")
        macs = case.plain_gmacs if is_plain else case.gmacs
        ratio = times[PLAIN][:, 0] / values[:, 0] * macs / case.plain_gmacs
        to_oracle = times["oracle"] / values
        rows.append(
            {
                "model": case.model,
                "engine": name,
                "schedule": case.schedule,
                "macs_saved": 1 - macs / case.plain_gmacs,
                "tokens": None if is_plain else case.counts[-1],
                "ms": float(np.median(values[:, 0])),
                "ms_interval": interval(values[:, 0]),
                "cpu_ms": float(np.median(values[:, 1])),
                "efficiency": float(np.median(ratio)),
                "efficiency_interval": interval(ratio),
                "efficiency_of_oracle": float(np.median(to_oracle[:, 0])),
                "efficiency_of_oracle_interval": interval(to_oracle[:, 0]),
                "cpu_efficiency_of_oracle": float(np.median(to_oracle[:, 1])),
            }
        )
    return rows


def run(
    models: Sequence[str],
    saved: Sequence[float],
    schedules: Sequence[str],
    threads: int,
    repetitions: int,
    with_torch: bool = True,
) -> list[dict[str, Any]]:
    """All rows."""
    torch.set_num_threads(threads)
    rows = []
    for name in models:
        model = build_backbone({"timm": name}).eval()
        plain = plain_onnx(model, threads)
        for case in make_cases(name, model, saved, schedules, threads):
            # torch's threads spin on after it is done: beside it, nothing else could be measured.
            times = measure({PLAIN: partial(plain, case.images), **case.onnx}, repetitions)
            if with_torch:
                times |= measure(case.torch, repetitions)
            rows += rows_of(case, times)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, help="of timm (default: %(default)s)")
    parser.add_argument("--saved", nargs="+", type=float, default=SAVED, help="shares of MACs (default: %(default)s)")
    parser.add_argument("--schedules", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--threads", type=positive_int, default=2)
    parser.add_argument("--repetitions", type=positive_int, default=40)
    parser.add_argument("--without-torch", action="store_true", help="leave its engines out, which take longest")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and provenance there")
    options = parser.parse_args(arguments)
    rows = run(
        options.models,
        options.saved,
        options.schedules,
        options.threads,
        options.repetitions,
        not options.without_torch,
    )
    if options.json:
        options.json.write_text(json.dumps({"provenance": provenance(), "rows": rows}, indent=2) + "\n")
    shown = ("model", "engine", "schedule", "macs_saved", "tokens", "ms", "cpu_ms", "efficiency",
             "efficiency_of_oracle", "cpu_efficiency_of_oracle")  # fmt: skip
    print(table([{key: _text(row[key]) for key in shown} for row in rows]))


def _text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str("" if value is None else value)


if __name__ == "__main__":
    main()
