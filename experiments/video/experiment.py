"""Three policies on a video stream, through three processes: agreement frame by frame, times, a policy switched."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.harness.experiment import Experiment
from experiments.harness.report import Cell, Curve, Estimate, Plot, Report, Table
from experiments.harness.setting import Setting, three_policies
from experiments.video.watching import CLIPS, PLAIN, SNR_DB, UNMERGED, Run, Streams, frame_id_of
from offline.measure.evaluator import BYPASS, Evaluator
from policies.policy import Policy
from thinwire.bundle import Bundle, load_bundle
from thinwire.channels import Channel

BUNDLE = "cifar10"
# Frames of a block, within which they are anything but independent: a second of these clips.
BLOCK = 25
SAME_LABEL, SAME_AS_PLAIN = "label of the unmerged, %", "label of the plain model, %"
SCORE_CHANGE, AS_ALONE = "change of its score", "as the policy alone, %"
OWN, OWN_IMAGES = "the bundle's own test images", 1000
# Batches in the cloud differ between two runs, and with them the last digits of a score.
SCORES_AGREE = 1e-4


def clustered(values: Sequence[float] | NDArray[np.float64], block: int) -> Estimate:
    """Mean of one value per frame, and its standard error with blocks of frames as clusters.

    Cochran (1977), Sampling Techniques, eq. 6.9, of a ratio, with its k / (k - 1) for k clusters.

    Args:
        values: of the frames in order, which are more than one block.
        block: frames of a cluster; 1 takes them for independent.
    """
    each = np.asarray(values, dtype=np.float64)
    totals = np.add.reduceat(each - each.mean(), np.arange(0, len(each), block))
    variance = np.square(totals).sum() * len(totals) / (len(totals) - 1) / len(each) ** 2
    return Estimate(float(each.mean()), float(np.sqrt(variance)))


def _labels(run: Run) -> list[str]:
    return [max(frame["scores"], key=frame["scores"].__getitem__) for frame in run]


def _same(run: Run, other: Run) -> NDArray[np.float64]:
    """100 where two runs give a frame the same label, 0 elsewhere."""
    return np.array([100.0 * (a == b) for a, b in zip(_labels(run), _labels(other), strict=True)])


def _mean(run: Run, name: str) -> float:
    return float(np.mean([frame[name] for frame in run]))


def _agreement(clip: str, runs: Mapping[str, Run]) -> list[dict[str, Any]]:
    reference = runs[UNMERGED]
    rows: list[dict[str, Any]] = []
    for label, run in runs.items():
        changes = [
            abs(frame["scores"][name] - other["scores"][name])
            for frame, other, name in zip(run, reference, _labels(reference), strict=True)
        ]
        is_plain = label == PLAIN
        rows.append({
            "clip": clip,
            "model": label,
            "policy": run[0]["policy"],
            "frames": len(run),
            "tokens": None if is_plain else _mean(run, "tokens"),
            "uses": None if is_plain else _mean(run, "uses"),
            SAME_LABEL: None if label == UNMERGED else clustered(_same(run, reference), BLOCK),
            SCORE_CHANGE: None if label == UNMERGED else clustered(changes, BLOCK),
            SAME_AS_PLAIN: None if is_plain else clustered(_same(run, runs[PLAIN]), BLOCK),
            "score of its label": float(np.mean([max(frame["scores"].values()) for frame in run])),
            "label changes": sum(a != b for a, b in pairwise(_labels(run))),
        })  # fmt: skip
    return rows


def plan_of(labels: Sequence[str], frames: int) -> list[str]:
    """Whose turn it is at each frame: from the second policy down to the last, and up again to the first."""
    order = [labels[1], labels[-1], labels[-2], labels[0]]
    return [order[number * len(order) // frames] for number in range(frames)]


def _segments(clip: str, run: Run, plan: Sequence[str], runs: Mapping[str, Run]) -> list[dict[str, Cell]]:
    rows: list[dict[str, Cell]] = []
    for label in dict.fromkeys(plan):
        numbers = [number for number, one in enumerate(plan) if one == label]
        part, alone, reference = ([one[number] for number in numbers] for one in (run, runs[label], runs[UNMERGED]))
        rows.append({
            "clip": clip,
            "frames": f"{numbers[0]} to {numbers[-1]}",
            "model": label,
            "policy": ", ".join(dict.fromkeys(frame["policy"] for frame in part)),
            "uses": _mean(part, "uses"),
            SAME_LABEL: float(_same(part, reference).mean()),
            AS_ALONE: 100.0 * float(np.mean([_alike(a, b) for a, b in zip(part, alone, strict=True)])),
        })  # fmt: skip
    return rows


def _alike(frame: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    near = all(abs(score - other["scores"][name]) < SCORES_AGREE for name, score in frame["scores"].items())
    return near and all(frame[name] == other[name] for name in ("policy", "tokens", "uses"))


def _whole(clip: str, run: Run, sent: int, counted: Sequence[int]) -> dict[str, Cell]:
    """Whether every frame of a stream was answered once and in its place, and met the channel once."""
    ids = [frame["id"] for frame in run]
    return {
        "clip": clip,
        "sent": sent,
        "answered": len(ids),
        "different frames": len(set(ids)),
        "in their place": sum(id_ == frame_id_of(clip, number) for number, id_ in enumerate(ids)),
        "at the channel": counted[0],
        "uses answered": sum(frame["uses"] for frame in run),
        "uses at the channel": counted[1],
    }


def _median(rounds: Sequence[Mapping[str, float]], figure: str) -> float:
    return float(np.median([one[figure] for one in rounds]))


def _timed(clip: str, found: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> list[dict[str, Cell]]:
    rows: list[dict[str, Cell]] = []
    for label in next(iter(found.values())):
        row: dict[str, Cell] = {"clip": clip, "model": label}
        for name, by_label in found.items():
            rate, unmerged = (_median(by_label[one], "frames_per_second") for one in (label, UNMERGED))
            row |= {
                f"{name}: median, ms": _median(by_label[label], "median_ms"),
                f"{name}: p95, ms": _median(by_label[label], "p95_ms"),
                f"{name}: frames/s": rate,
                f"{name}: times the unmerged's": rate / unmerged,
            }
        rows.append(row)
    return rows


def _by_second(runs: Mapping[str, Run]) -> list[Curve]:
    curves = []
    for label, run in runs.items():
        if label not in (UNMERGED, PLAIN):
            same = _same(run, runs[UNMERGED])
            means = [float(same[start : start + BLOCK].mean()) for start in range(0, len(same), BLOCK)]
            curves.append(Curve(label, list(range(len(means))), means))
    return curves


def _elsewhere(setting: Setting, streams: Streams) -> dict[str, dict[str, list[float]]]:
    """Agreement with the plain model by the evaluator: value and standard error, by model and by what is looked at."""
    bundle, channel = streams.bundle, Channel("awgn", SNR_DB)
    models: dict[str, tuple[Policy, int | None]] = {
        f"unmerged, S = {rate}": (Policy.unmerged(bundle.steps, rate), None) for rate in bundle.codec.rates
    }
    models |= {label: (one.policy, one.cap) for label, one in streams.choices.items() if label != UNMERGED}
    found: dict[str, dict[str, list[float]]] = {label: {} for label in models}
    for name in (OWN, *CLIPS):
        images = setting.images(bundle, limit=OWN_IMAGES) if name == OWN else streams.images(name)
        evaluator = Evaluator.load(bundle, images)
        unmerged = Policy.unmerged(bundle.steps, bundle.codec.rates[0])
        plain = evaluator.measure_policy(unmerged, BYPASS, setting.seed).logits.argmax(1)
        for label, (policy, cap) in models.items():
            labels = evaluator.measure_policy(policy, channel, setting.seed, cap).logits.argmax(1)
            estimate = clustered(100.0 * (labels == plain), 1 if name == OWN else BLOCK)
            found[label][name] = [estimate.value, estimate.se]
    return found


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    bundle = load_bundle(BUNDLE)
    streams = Streams(setting, bundle, three_policies(bundle))
    alone = streams.alone()
    plans = {clip: plan_of(list(streams.choices), len(alone[clip][UNMERGED])) for clip in CLIPS}
    switched = streams.switched(plans)
    elsewhere = setting.kept("elsewhere", lambda: _elsewhere(setting, streams))
    times = streams.times()
    agreement = [row for clip in CLIPS for row in _agreement(clip, alone[clip])]
    segments = [row for clip in CLIPS for row in _segments(clip, switched[clip]["run"], plans[clip], alone[clip])]
    whole = [_whole(clip, switched[clip]["run"], len(plans[clip]), switched[clip]["counted"]) for clip in CLIPS]
    timed = [row for clip in CLIPS for row in _timed(clip, times[clip])]
    return Report(
        tables=[
            Table(
                f"Frame by frame, AWGN at {SNR_DB:g} dB, the same noise for all",
                agreement,
                {SCORE_CHANGE: 2, "score of its label": 2},
            ),
            Table(
                f"Label of the plain model, %: on {OWN} and on the clips, by the evaluator",
                [
                    {"model": label} | {name: Estimate(*cell) for name, cell in cells.items()}
                    for label, cells in elsewhere.items()
                ],
            ),
            Table("One stream, its policy switched while it runs", segments),
            Table("Every frame of these streams, once and in its place", whole),
            Table(
                "Time to answer and frames a second, medians of the rounds",
                timed,
                {name: 2 for name in timed[0] if name.endswith("the unmerged's")},
                [name for name in timed[0] if name not in ("clip", "model")],
            ),
        ],
        plots=[
            Plot(
                "agreement",
                "second of the clip",
                "label of the unmerged, % of frames",
                {clip: _by_second(alone[clip]) for clip in CLIPS},
            )
        ],
        remarks=[*_remarks(agreement, alone), _rate_remark(bundle, elsewhere)],
    )


def _remarks(agreement: Sequence[Mapping[str, Any]], alone: Mapping[str, Mapping[str, Run]]) -> list[str]:
    under_budgets = (row for row in agreement if row["policy"] not in (None, "none"))
    least = min(under_budgets, key=lambda row: row[SAME_LABEL].value)
    clip, label = least["clip"], least["model"]
    same = _same(alone[clip][label], alone[clip][UNMERGED])
    blocks, frames = clustered(same, BLOCK), clustered(same, 1)
    return [
        f"Frames that follow each other are alike, and so are their errors. Standard errors take each second "
        f"({BLOCK} frames) as one draw: for {clip} {label} {blocks.se:.1f} points, where independent frames would have "
        f"given {frames.se:.1f}. A shot that lasts several seconds makes even that too small, and a clip is one clip: "
        "they say nothing of other videos.",
        "An agreement of 100% has a standard error of 0 only because nothing differed.",
    ]


def _rate_remark(bundle: Bundle, elsewhere: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    assert bundle.reference is not None
    rates = bundle.reference.symbols_per_token, bundle.codec.rates[-1]
    low, high = (f"unmerged, S = {rate}" for rate in rates)
    parts = [f"{elsewhere[low][name][0]:.1f}% and {elsewhere[high][name][0]:.1f}% on {name}" for name in (OWN, *CLIPS)]
    return (
        f"The unmerged model has the label of the plain model, at the reference's S = {rates[0]} and at {rates[1]}, "
        f"for {', '.join(parts)}: the reference's rate is the smallest that keeps the accuracy on the bundle's own "
        "images, and off them it is part of the difference."
    )


EXPERIMENT = Experiment(
    name="video",
    title="Three policies on a video stream",
    about="""
Two clips of 25 frames a second, `bikes` (640 x 272 pixels) and `bigbuckbunny` (1280 x 720), go frame by frame through
the edge, the channel (AWGN at 10 dB) and the cloud, three processes that serve the bundle `cifar10`: the unmerged
reference, and the policies that budgets of 50%, 20% and 5% of its uses choose.

**What the labels mean on these clips: nothing.** They are not like the images that the bundle was trained on and nobody
has labelled them, so nothing is right or wrong. What is measured is agreement, frame by frame: of a policy with the
unmerged model under the same noise, and of both with the plain model, which the cloud runs on the whole frame without
codec and channel. The row of other noise is the scale to read it on: how often the unmerged model agrees with itself
under two draws of the noise. "Label changes" counts frames whose label is not that of the frame before. The second
table holds the same models, and the unmerged one at every rate S (symbols per token), against the plain model on the
images that the bundle was made for.

Then one stream for each clip begins with the first policy, and the policy changes three times while it runs, with four
frames under way; its answers are held against those that each policy gave alone under the same noise.

Times are those that `thinwire stream` prints, from a frame's sending to its answer, on one machine whose two cores the
decoding of the clip, the client and the three processes share. A frame travels whole to the edge's REST and is decoded
and resized there, so that larger frames take longer. Policies take turns, each round in the same order.
""",
    run=run,
    bundles=(BUNDLE,),
    data=("video", "cifar10-test.tar"),
    packages=("av", "httpx", "onnxruntime"),
)
