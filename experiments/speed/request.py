"""What the service costs per frame over the bare computation, and where.

``python -m experiments.speed.request --data TAR`` sends images one after the other over REST to the three processes, and in
between runs the same image through edge model, decoder and head in this process, with nothing around them. Both happen
in turn, so that a noisy machine slows both.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from deploy.cli.common import table
from deploy.cli.engines import cloud_classifier, edge_engine
from deploy.testbed import LocalTestbed, Ports
from experiments.speed.arguments import load_asked, parser_for
from experiments.speed.budgets import png
from policies.budget import Budget
from policies.choice import choose_for
from policies.fronts import Fronts
from thinwire.bundle import FRONT, Bundle
from thinwire.equalise import ReceivedTokens

SNR_DB = 10.0
POLICIES = ("none", "auto")
WARM_UP = 20
# What a served request consists of, in the order of its path.
PARTS = ("edge computation", "rest of the edge", "channel", "cloud computation", "rest of the cloud", "gRPC", "REST")


class _Bare:
    """The computation alone: edge model, decoder, head."""

    def __init__(self, bundle: Bundle, name: str) -> None:
        self._engine = edge_engine(bundle, "auto", 1)
        self._classifier = cloud_classifier(bundle, "auto", 1)
        fronts = Fronts.load(bundle.path(FRONT), bundle.digest)
        self._policy = choose_for(bundle, fronts, name, Budget(), "awgn", SNR_DB).policy

    def run(self, pixels: NDArray[np.uint8]) -> tuple[float, float]:
        """Milliseconds on the device and in the cloud."""
        started = time.perf_counter()
        symbols = self._engine.encode(pixels, self._policy, SNR_DB).symbols
        sent = time.perf_counter()
        self._classifier.classify_frames([ReceivedTokens(symbols, 10 ** (-SNR_DB / 10))])
        return (sent - started) * 1e3, (time.perf_counter() - sent) * 1e3


def _serve(client: httpx.Client, url: str, image: bytes, policy: str) -> dict[str, float]:
    """Milliseconds of one request: its own account of its stages, and "wall" as the client saw it."""
    started = time.perf_counter()
    asked = {"parameters": json.dumps({"policy": policy})}
    response = client.post(url, params=asked, content=image, headers={"content-type": "image/png"})
    wall = (time.perf_counter() - started) * 1e3
    response.raise_for_status()
    stages: dict[str, float] = response.json()["timings_ms"]
    return stages | {"wall": wall}


def run(bundle: Bundle, images: Sequence[NDArray[np.uint8]], edge_url: str, policy: str) -> dict[str, Any]:
    """Measure one policy.

    Returns:
        medians over the images in milliseconds: ``bare``, ``served``, ``parts`` of what is served, and
        ``overhead``, the paired difference, with its quartiles; ``ratio`` of served over bare.
    """
    bare = _Bare(bundle, policy)
    rows = []
    with httpx.Client(timeout=60) as client:
        for index, pixels in enumerate(images):
            edge, cloud = bare.run(pixels)
            stages = _serve(client, f"{edge_url}/v1/classify", png(pixels), policy)
            between = stages["total"] - stages["edge"] - stages["channel"] - stages["cloud"]
            parts = (edge, stages["edge"] - edge, stages["channel"], cloud, stages["cloud"] - cloud, between,
                     stages["wall"] - stages["total"])  # fmt: skip
            if index >= WARM_UP:
                rows.append((edge + cloud, stages["wall"], *parts))
    figures = np.array(rows)
    overhead = figures[:, 1] - figures[:, 0]
    medians = np.median(figures, axis=0)
    return {
        "policy": policy,
        "images": len(rows),
        "bare": medians[0],
        "served": medians[1],
        "ratio": float(np.median(figures[:, 1] / figures[:, 0])),
        "overhead": float(np.median(overhead)),
        "overhead_quartiles": np.quantile(overhead, (0.25, 0.75)).tolist(),
        "parts": dict(zip(PARTS, medians[2:].tolist(), strict=True)),
    }


def as_text(results: Sequence[dict[str, Any]]) -> str:
    """One table: a column per policy."""
    lines = []
    for key in ("bare", "served", "overhead", *PARTS):
        row = {"ms (median)": key}
        for result in results:
            row[result["policy"]] = f"{result.get(key, result['parts'].get(key)):.2f}"
        lines.append(row)
    quartiles = "; ".join(
        "{policy}: {0:.2f} to {1:.2f} ms".format(*result["overhead_quartiles"], policy=result["policy"])
        for result in results
    )
    return f"{table(lines)}\n\nquartiles of the overhead: {quartiles}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = parser_for(__doc__)
    options = parser.parse_args(arguments)
    bundle, images = load_asked(options)
    channel = ("--snr", str(SNR_DB), "--seed", str(options.seed))
    with TemporaryDirectory() as logs, LocalTestbed([options.bundle], Ports.free(), channel, Path(logs)) as testbed:
        results = [run(bundle, list(images.pixels), testbed.edge_url, policy) for policy in POLICIES]
    print(json.dumps(results, indent=2) if options.json else as_text(results))


if __name__ == "__main__":
    main()
