"""What the service costs per request over the bare computation, and where."""

import json
import time
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from deploy.cli.common import positive_int
from deploy.cli.engines import cloud_classifier, edge_engine
from experiments.harness.experiment import Experiment
from experiments.harness.in_turn import quartiles
from experiments.harness.options import BUNDLE, Option
from experiments.harness.processes import running
from experiments.harness.report import Cell, Report, Table
from experiments.harness.setting import Setting, fronts_of
from policies.budget import Budget
from policies.choice import choose_for
from thinwire.bundle import Bundle
from thinwire.channels import Channel
from thinwire.equalise import ReceivedTokens
from thinwire.images import to_png

SNR_DB = 10.0
POLICIES = ("none", "auto")
WARM_UP = 20
# What a served request consists of, in the order of its path.
PARTS = ("edge computation", "rest of the edge", "channel", "cloud computation", "rest of the cloud", "gRPC", "REST")


def _serve(client: httpx.Client, url: str, image: bytes, policy: str) -> dict[str, float]:
    """Milliseconds of one request: its own account of its stages, and "wall" as the client saw it."""
    started = time.perf_counter()
    asked = {"parameters": json.dumps({"policy": policy})}
    response = client.post(url, params=asked, content=image, headers={"content-type": "image/png"})
    wall = (time.perf_counter() - started) * 1e3
    response.raise_for_status()
    stages: dict[str, float] = response.json()["timings_ms"]
    return stages | {"wall": wall}


def columns(bundle: Bundle, images: NDArray[np.uint8], edge_url: str, policy: str) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of each image: bare, served, the difference of the two, the parts of what is served."""
    engine, classifier = edge_engine(bundle, "auto", 1), cloud_classifier(bundle, "auto", 1)
    chosen = choose_for(bundle, fronts_of(bundle), policy, Budget(), Channel("awgn", SNR_DB)).policy
    rows = []
    with httpx.Client() as client:
        for pixels in images:
            started = time.perf_counter()
            symbols = engine.encode(pixels, chosen, SNR_DB).symbols
            sent = time.perf_counter()
            classifier.classify_frames([ReceivedTokens(symbols, 10 ** (-SNR_DB / 10))])
            edge, cloud = 1e3 * (sent - started), 1e3 * (time.perf_counter() - sent)
            stages = _serve(client, f"{edge_url}/v1/classify", to_png(pixels), policy)
            between = stages["total"] - stages["edge"] - stages["channel"] - stages["cloud"]
            served, computed = stages["wall"], edge + cloud
            rows.append((computed, served, served - computed, edge, stages["edge"] - edge, stages["channel"], cloud,
                         stages["cloud"] - cloud, between, served - stages["total"]))  # fmt: skip
    names = ("bare computation", "served, as the client sees it", "overhead", *PARTS)
    return dict(zip(names, np.array(rows[WARM_UP:]).T, strict=True))


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    bundle = setting.bundle
    images: Any = setting.images(bundle, limit=setting.options.limit)
    with running([bundle], ("--snr", str(SNR_DB), "--seed", str(setting.seed))) as testbed:
        found = {policy: columns(bundle, images.pixels, testbed.edge_url, policy) for policy in POLICIES}
    rows: list[dict[str, Cell]] = [
        {"ms": part} | {policy: quartiles(columns[part]) for policy, columns in found.items()}
        for part in found[POLICIES[0]]
    ]
    title = f"Medians and quartiles over {len(images.pixels) - WARM_UP} images"
    return Report([Table(title, rows, dict.fromkeys(POLICIES, 2), POLICIES)])


EXPERIMENT = Experiment(
    name="request",
    title="What the service costs per request",
    about="""
Images go one after the other over REST to the three processes, unmerged and under the policy `auto`, and in between the
same image runs through edge model, decoder and head in this process, with nothing around them and one thread each. Both
happen in turn, so that a noisy machine slows both; overhead is the paired difference.
""",
    run=run,
    packages=("httpx", "onnxruntime", "grpc"),
    options=BUNDLE | {"limit": Option(500, "images, the first 20 of which only warm up", 60, positive_int)},
)
