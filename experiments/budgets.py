"""Accuracy under budgets, through the running channel and cloud."""

import asyncio
from typing import Any

import numpy as np

from deploy.cli.engines import edge_engine
from edge.answer import Answer
from edge.engine import Engine
from experiments.harness.experiment import Experiment
from experiments.harness.options import BUNDLE, LIMIT, Option
from experiments.harness.processes import LINK, counted_by_proxy, edge_service, link_of, running
from experiments.harness.report import Cell, Report, Table, accuracy
from experiments.harness.setting import Setting
from offline.data.images import LabelledImages
from offline.measure.evaluator import request_id_of
from thinwire.bundle import Bundle
from thinwire.channels import Channel
from thinwire.images import to_png
from thinwire.rest.schemas import BudgetBody, Parameters

SHARES = (0.50, 0.20, 0.10, 0.05)
# Requests under way at once: enough to let the processes work side by side.
CONCURRENCY = 8


async def _classify(
    bundle: Bundle,
    engine: Engine,
    images: LabelledImages,
    link: str,
    device: tuple[str, Channel],
    parameters: Parameters,
) -> list[Answer]:
    """Every image as a frame that is named after it, by a device of an id that expects a channel."""
    slots = asyncio.Semaphore(CONCURRENCY)
    async with edge_service(bundle, engine, link, *device) as service:

        async def classify(index: int) -> Answer:
            async with slots:
                image, name = to_png(images.pixels[index]), images.names[index]
                return await service.classify(image, parameters, request_id_of(name))

        return await asyncio.gather(*(classify(index) for index in range(len(images))))


def _row(
    bundle: Bundle, engine: Engine, images: LabelledImages, link: str, budget: int | None, snr_db: float
) -> dict[str, Cell]:
    """All images under one budget (None: unmerged at the reference rate), on a link named after it."""
    link_id = f"budget-{budget or 'none'}"
    parameters = Parameters(policy="none") if budget is None else Parameters(budget=BudgetBody(channel_uses=budget))
    answers = asyncio.run(_classify(bundle, engine, images, link, (link_id, Channel("awgn", snr_db)), parameters))
    counted = counted_by_proxy(link)[link_id]
    right = [
        int(answer.outputs[0][0] == images.classes[label]) for answer, label in zip(answers, images.labels, strict=True)
    ]

    def mean(values: list[Any]) -> float:
        return float(np.mean(values))

    return {
        "budget, uses": budget,
        "policy": "/".join(sorted({answer.policy_id for answer in answers})),
        "answered": len(answers),
        "accuracy, %": accuracy(right),
        "tokens": mean([answer.tokens for answer in answers]),
        "their deviation": float(np.std([answer.tokens for answer in answers])),
        "uses": counted.channel_uses / counted.frames,
        "uses, largest": counted.channel_uses_max,
        "frames at the proxy": counted.frames,
        "capped, %": 100 * mean([answer.capped for answer in answers]),
        "edge GMACs": mean([answer.edge_gmacs for answer in answers]),
    }


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    bundle, snr_db = setting.bundle, setting.options.snr
    images = setting.images(bundle, limit=setting.options.limit)
    assert isinstance(images, LabelledImages)
    assert bundle.reference is not None
    engine = edge_engine(bundle, "auto", 1)
    budgets = [None, *(int(share * bundle.reference.channel_uses) for share in SHARES)]
    with running([bundle], ("--snr", str(snr_db), "--seed", str(setting.seed)), LINK) as testbed:
        rows = [_row(bundle, engine, images, link_of(testbed), budget, snr_db) for budget in budgets]
    return Report([Table(f"{len(images)} images, AWGN at {snr_db:g} dB", rows, {"edge GMACs": 3})])


EXPERIMENT = Experiment(
    name="budgets",
    title="Accuracy under budgets, by the running channel and cloud",
    about="""
Every test image, unmerged and under budgets of 50, 20, 10 and 5% of the unmerged reference's channel uses. The channel
and the cloud are processes of their own; the edge runs in this one, so that every frame can be named after its image
and meets the same noise in every run. Channel uses are what the proxy counted of the bytes that it saw.
""",
    run=run,
    packages=("onnxruntime", "grpc"),
    options=BUNDLE | LIMIT | {"snr": Option(10.0, "of the channel, in dB", kind=float)},
)
