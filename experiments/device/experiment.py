"""What the device's side costs: ours in ONNX Runtime and in torch, against plain models, ToMe and an oracle."""

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from deploy.cli.common import DEFAULT_BUNDLE, positive_int
from experiments.device.cases import STEPS, Case, Run, make_cases
from experiments.device.subjects import RULES, Subject, subjects
from experiments.harness.experiment import Experiment
from experiments.harness.in_turn import in_turn, median, milliseconds
from experiments.harness.options import Option, repeated
from experiments.harness.report import Cell, Report, Table
from experiments.harness.setting import Setting

MODELS = ["deit_tiny_patch16_224", "deit_small_patch16_224", "vit_base_patch16_224", DEFAULT_BUNDLE]
SAVED = [0.1, 0.2, 0.3, 0.4, 0.5]
# Rounds that do not count, of a single image.
WARM_UP = 3
RATIOS = ("efficiency", "of oracle", "of ToMe")


def _times(runs: dict[str, Run], repetitions: int, images: int) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of each, one after the other in every repetition: ``repetitions x 2``, of clock and processors."""
    parts = {name: partial(milliseconds, run) for name, run in runs.items()}
    return in_turn(parts, repetitions, WARM_UP if images == 1 else 1)


def _rows(subject: Subject, case: Case, times: dict[str, NDArray[np.float64]]) -> list[dict[str, Cell]]:
    """One row for each engine."""
    rows: list[dict[str, Cell]] = []
    for name, values in times.items():
        is_plain = name.startswith("timm")
        macs = 1.0 if is_plain else case.macs
        row: dict[str, Cell] = {
            "model": subject.name,
            "rule": subject.rule,
            "engine": name,
            "batch": len(case.counts),
            "merging at": case.schedule,
            "MACs saved, %": 100 * (1 - macs),
            "tokens": None if is_plain else float(case.counts[:, -1].mean()),
            "their deviation": None if is_plain else float(case.counts[:, -1].std()),
            "ms": median(values[:, 0]),
            "processor ms": float(np.median(values[:, 1])),
        }
        ratios = (
            times["timm-onnxruntime"] / values * macs,
            times["oracle"] / values if "oracle" in times else None,
            times["tome-onnxruntime" if name in case.onnx else "tome"] / values,
        )
        for key, ratio in zip(RATIOS, ratios, strict=True):
            row[key] = None if ratio is None else median(ratio[:, 0])
            row[f"{key}, processor"] = None if ratio is None else float(np.median(ratio[:, 1]))
        rows.append(row)
    return rows


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    options = setting.options
    torch.set_num_threads(options.threads)
    rows = []
    for name in options.models:
        for subject in subjects(name, options.rules, options.threads):
            for images in options.batch:
                for case in make_cases(subject, options.saved, options.schedules, images):
                    # torch's threads spin on after it is done: beside it, nothing else could be measured.
                    times = _times(case.onnx, options.repetitions, images)
                    if not options.without_torch:
                        times |= _times(case.torch, options.repetitions, images)
                    rows += _rows(subject, case, times)
    timed = [key for key in rows[0] if key.endswith("ms") or key.startswith(RATIOS)]
    digits = {key: 3 for key in timed if key.startswith(RATIOS)} | {"ms": 2, "processor ms": 2}
    return Report([Table("Each engine", rows, digits, timed)])


EXPERIMENT = Experiment(
    name="edge",
    title="What the device's side costs",
    about="""
DeiT-Ti, DeiT-S and ViT-B at 224 pixels with random weights, and a shipped bundle, merging so that a share of the
multiply-accumulates is saved, by the paper's rule and by the `narrow` one, which compares the values of one head and
weighs by size: as many tokens at every layer (`every`), or more at every third or fourth, from the first layer on. The
thresholds are such that the images at hand reach these token counts on average. Those of ONNX Runtime are timed in
turn, and then those of torch:

- `timm`, `timm-onnxruntime`: timm's own model, in torch and exported as it is, without merging;
- `torch`, `onnxruntime`: the two edge engines under those thresholds, in torch with the batch padded, on ONNX Runtime
  one image after the other;
- `tome`, `tome-onnxruntime`: timm's model with ToMe, in torch and exported as it is, merging as many tokens at each
  layer, which it is told beforehand;
- `oracle`: of one image on ONNX Runtime, a static graph of the same layers and JSCC encoder with the same token counts,
  in which tokens are cut off without any matching.

Efficiency is (time of timm-onnxruntime / time) / (MACs of the plain model / MACs that the device computes). The others
are ratios of times: that of the oracle, or of ToMe on the same runtime, to an engine's.
""",
    run=run,
    data=(),
    packages=("onnxruntime", "onnxscript"),
    options=repeated(40)
    | {
        "models": Option(MODELS, "timm's or shipped", [DEFAULT_BUNDLE]),
        "rules": Option(list(RULES), "of timm's", choices=list(RULES)),
        "batch": Option([1, 32], "images", [1], positive_int),
        "saved": Option(SAVED, "shares of MACs", [0.3], float),
        "schedules": Option(list(STEPS), "by their names", ["every"], choices=list(STEPS)),
        "threads": Option(2, "of both runtimes", kind=positive_int),
        "without_torch": Option(False, "leave its engines out, which take longest"),
    },
)
