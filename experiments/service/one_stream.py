"""What the streaming link gains: images answered per second in one stream, against one after the other."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.cli.common import positive_int
from deploy.cli.engines import edge_engine
from edge.answer import Answer
from edge.service import EdgeService
from experiments.device.subjects import random_pixels
from experiments.harness.experiment import Experiment
from experiments.harness.in_turn import in_turn, median
from experiments.harness.options import BUNDLE, Option, repeated
from experiments.harness.processes import LINK, edge_service, link_of, running
from experiments.harness.report import Cell, Report, Table
from experiments.harness.setting import Setting
from thinwire.bundle import Bundle
from thinwire.images import to_png
from thinwire.rest.schemas import Parameters

# Of the channel's proxy, by what the table calls them.
LINKS = {"no airtime": (), "airtime at 100 kHz": ("--symbol-rate", "100000", "--inject-airtime")}


async def _one_by_one(service: EdgeService, images: Sequence[bytes]) -> list[Any]:
    return [await service.classify(image, Parameters()) for image in images]


async def _stream(service: EdgeService, images: Sequence[bytes]) -> list[Any]:
    async def source() -> AsyncIterator[bytes]:
        for image in images:
            yield image

    return [answer async for answer in service.classify_stream(source(), Parameters())]


def _rates(bundle: Bundle, link: str, images: Sequence[bytes], repetitions: int) -> dict[str, NDArray[np.float64]]:
    """Images per second of both ways, in turn."""
    ways = {"one by one": _one_by_one, "stream": _stream}
    engine, stack = edge_engine(bundle, "auto", 1), AsyncExitStack()
    with asyncio.Runner() as runner:
        service = runner.run(stack.enter_async_context(edge_service(bundle, engine, link, "benchmark")))

        def rate(name: str) -> float:
            began = time.perf_counter()
            answers = runner.run(ways[name](service, images))
            found = len(images) / (time.perf_counter() - began)
            wrong = next((answer for answer in answers if not isinstance(answer, Answer)), None)
            if wrong is not None:
                raise wrong
            return found

        try:
            return in_turn({name: partial(rate, name) for name in ways}, repetitions)
        finally:
            runner.run(stack.aclose())


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    bundle = setting.bundle
    images = [to_png(pixels) for pixels in random_pixels(setting.options.images, bundle.preprocessing.size)]
    rows: list[dict[str, Cell]] = []
    for link, arguments in LINKS.items():
        with running([bundle], arguments, LINK) as testbed:
            rates = _rates(bundle, link_of(testbed), images, setting.options.repetitions)
        gain = rates["stream"] / rates["one by one"]
        rows.append({"link": link, **{name: median(values) for name, values in rates.items()}, "gain": median(gain)})
    timed = ("one by one", "stream", "gain")
    return Report([Table("Images per second", rows, dict(zip(timed, (0, 0, 2), strict=True)), timed)])


EXPERIMENT = Experiment(
    name="stream",
    title="The streaming link",
    about="""
The same images both ways, in turn, through the running channel and cloud; the edge runs here. One after the other, an
image is encoded only when the one before it has been answered; in a stream, encoding, transmission and decoding of
successive images overlap. Once with a link that takes no time, and once with one on which a frame takes as long as its
channel uses do at a symbol rate.
""",
    run=run,
    data=(),
    packages=("onnxruntime", "grpc"),
    options=BUNDLE | repeated(8) | {"images": Option(200, "each time", 40, positive_int)},
)
