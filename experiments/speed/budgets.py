"""Accuracy under budgets, through the running channel and cloud.

``python -m experiments.speed.budgets --data TAR`` classifies every image unmerged and under budgets of 5, 10, 20 and 50% of
the unmerged reference. The channel and the cloud are processes of their own; the edge runs here, so that every frame
can be named after its image and meets the same noise in every run. Channel uses are what the proxy counted.
"""

import asyncio
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from deploy.cli.common import table
from deploy.cli.engines import edge_engine
from deploy.testbed import HOST, LocalTestbed, Ports
from edge.answer import Answer
from edge.device import Device
from edge.engine import Engine
from edge.link_client import LinkClient
from edge.service import EdgeService
from experiments.speed.arguments import load_asked, parser_for
from offline.data.images import LabelledImages
from offline.measure.evaluator import request_id_of
from policies.fronts import FrontFile
from thinwire import rpc
from thinwire.bundle import FRONT, Bundle
from thinwire.rest.schemas import BudgetBody, Parameters
from thinwire.v1 import control_pb2, control_pb2_grpc

SHARES = (0.05, 0.10, 0.20, 0.50)
# Requests under way at once: enough to let the processes work side by side.
CONCURRENCY = 8


def png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    """The pixels as a PNG, which keeps them as they are."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


async def run_budget(
    bundle: Bundle, engine: Engine, images: LabelledImages, target: str, budget: int | None, snr_db: float
) -> dict[str, Any]:
    """Classify all images under one budget (None: unmerged at the reference rate), on a link named after it."""
    client = LinkClient(target)
    link_id = f"budget-{budget or 'none'}"
    front_file = FrontFile(bundle.path(FRONT), bundle.digest)
    service = EdgeService(bundle, engine, front_file, Device(client, link_id, snr_db))
    parameters = Parameters(policy="none") if budget is None else Parameters(budget=BudgetBody(channel_uses=budget))
    slots = asyncio.Semaphore(CONCURRENCY)

    async def classify(index: int) -> Answer:
        async with slots:
            return await service.classify(png(images.pixels[index]), parameters, request_id_of(images.names[index]))

    answers = await asyncio.gather(*(classify(index) for index in range(len(images))))
    counted = await counted_by_proxy(target, link_id)
    service.device.close()
    await client.close()
    correct = np.array(
        [answer.outputs[0][0] == images.classes[label] for answer, label in zip(answers, images.labels, strict=True)]
    )
    return {
        "budget": budget,
        "policy": "/".join(sorted({answer.policy_id for answer in answers})),
        "answered": len(answers),
        "accuracy": float(correct.mean()),
        "accuracy_se": float(np.sqrt(correct.mean() * (1 - correct.mean()) / len(correct))),
        "tokens_mean": float(np.mean([answer.tokens for answer in answers])),
        "tokens_sd": float(np.std([answer.tokens for answer in answers])),
        "channel_uses_mean": counted.channel_uses / counted.frames,
        "channel_uses_max": counted.channel_uses_max,
        "frames_at_proxy": counted.frames,
        "capped_share": float(np.mean([answer.capped for answer in answers])),
        "edge_gmacs_mean": float(np.mean([answer.edge_gmacs for answer in answers])),
    }


async def counted_by_proxy(target: str, link_id: str) -> control_pb2.LinkStatus:
    """What the proxy counted of a link."""
    async with rpc.open_channel(target) as channel:
        stub = control_pb2_grpc.ChannelControlStub(channel)  # type: ignore[no-untyped-call]
        links = (await stub.ListLinks(control_pb2.ListLinksRequest())).links
    return next(link for link in links if link.link_id == link_id)


async def run(bundle: Bundle, images: LabelledImages, target: str, snr_db: float) -> list[dict[str, Any]]:
    """All budgets, the unmerged reference first."""
    assert bundle.reference is not None
    engine = edge_engine(bundle, "auto", 1)
    budgets = [None, *(int(share * bundle.reference.channel_uses) for share in reversed(SHARES))]
    return [await run_budget(bundle, engine, images, target, budget, snr_db) for budget in budgets]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = parser_for(__doc__)
    parser.add_argument("--snr", type=float, default=10.0)
    options = parser.parse_args(arguments)
    bundle, images = load_asked(options)
    ports = Ports.free()
    channel = ("--snr", str(options.snr), "--seed", str(options.seed))
    with LocalTestbed([options.bundle], ports, channel, processes=("cloud", "channel")):
        rows = asyncio.run(run(bundle, images, f"{HOST}:{ports.channel_grpc}", options.snr))
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    text = [
        {key: f"{value:.4f}" if isinstance(value, float) else str(value) for key, value in row.items()} for row in rows
    ]
    print(table(text))


if __name__ == "__main__":
    main()
