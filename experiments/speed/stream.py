"""What the streaming link gains: images answered per second in one stream, against one after the other.

``python -m experiments.speed.stream`` classifies the same images both ways, in turn, through the running channel and cloud;
the edge runs here. One after the other, an image is encoded only when the one before it has been answered; in a stream,
encoding, transmission and decoding of successive images overlap. Once with a link that takes no time, and once with one
on which a frame takes as long as its channel uses do at a symbol rate.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from deploy.cli.common import DEFAULT_BUNDLE, table
from deploy.cli.engines import edge_engine
from deploy.testbed import HOST, LocalTestbed, Ports
from edge.answer import Answer
from edge.device import Device
from edge.link_client import LinkClient
from edge.service import EdgeService
from experiments.harness import in_turn as measuring
from experiments.speed.budgets import png
from experiments.speed.edge_models import random_pixels
from policies.fronts import FrontFile
from thinwire.bundle import FRONT, Bundle, load_bundle
from thinwire.rest.schemas import Parameters

IMAGES = 200
# Of the channel's proxy, by what the table calls them.
LINKS = {"no airtime": (), "airtime at 100 kHz": ("--symbol-rate", "100000", "--inject-airtime")}


async def _one_by_one(service: EdgeService, images: Sequence[bytes]) -> list[Any]:
    return [await service.classify(image, Parameters()) for image in images]


async def _stream(service: EdgeService, images: Sequence[bytes]) -> list[Any]:
    async def source() -> AsyncIterator[bytes]:
        for image in images:
            yield image

    return [answer async for answer in service.classify_stream(source(), Parameters())]


async def _rates(bundle: Bundle, target: str, repetitions: int) -> dict[str, list[float]]:
    """Images per second of both ways, in turn."""
    client = LinkClient(target)
    device = Device(client, "benchmark")
    service = EdgeService(bundle, edge_engine(bundle, "auto", 1), FrontFile(bundle.path(FRONT), bundle.digest), device)
    images = [png(pixels) for pixels in random_pixels(IMAGES, bundle.preprocessing.size)]
    rates: dict[str, list[float]] = {"one by one": [], "stream": []}
    try:
        for round_ in range(repetitions + 1):
            for name, way in (("one by one", _one_by_one), ("stream", _stream)):
                began = time.perf_counter()
                answers = await way(service, images)
                rate = len(images) / (time.perf_counter() - began)
                wrong = next((answer for answer in answers if not isinstance(answer, Answer)), None)
                if wrong is not None:
                    raise wrong
                # The first round warms up.
                if round_:
                    rates[name].append(rate)
    finally:
        device.close()
        await client.close()
    return rates


def run(bundle: Bundle, repetitions: int) -> list[dict[str, Any]]:
    """A row for each link: images per second both ways, and the ratio of the two in each repetition."""
    rows = []
    for link, arguments in LINKS.items():
        ports = Ports.free()
        with (
            TemporaryDirectory() as logs,
            LocalTestbed([str(bundle.folder)], ports, arguments, Path(logs), processes=("cloud", "channel")),
        ):
            rates = asyncio.run(_rates(bundle, f"{HOST}:{ports.channel_grpc}", repetitions))
        gain = np.array(rates["stream"]) / np.array(rates["one by one"])
        figures = {name: measuring.summary(values) for name, values in rates.items()}
        rows.append({"link": link, **figures, "gain": measuring.summary(gain)})
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, help="(default: %(default)s)")
    parser.add_argument("--repetitions", type=int, default=8, help="of both, in turn (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and provenance there")
    options = parser.parse_args(arguments)
    rows = run(load_bundle(options.bundle), options.repetitions)
    measuring.write(options.json, {"rows": rows})
    digits = {"one by one": 0, "stream": 0, "gain": 2}
    print(
        table(
            [{"link": row["link"], **{key: measuring.text(row[key], n) for key, n in digits.items()}} for row in rows]
        )
    )


if __name__ == "__main__":
    main()
