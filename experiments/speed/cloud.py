"""Frames per second of the cloud under load, against the two things that bound it.

``python -m experiments.speed.cloud`` has 32 callers send frames of mixed lengths to ``thinwire cloud serve``; in turn with it
a bare ``grpc.aio`` echo gets the same bytes from the same callers, and the model alone runs batches of the same frames.
The first bound is what the transport can do on this machine, the second what the model can; the service's share of the
lesser is reported, of each repetition by itself. Callers, transport and model share the machine's cores, so a third
bound, `experiments.speed.bare_cloud`, is what transport and model can do together; the service's share of it says what the
service itself costs. Once with a shipped bundle, and once with a DeiT-S that is split in the middle (random weights, in
a temporary folder).
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from cloud.answerer import Classifier
from deploy.cli.common import DEFAULT_BUNDLE, table
from deploy.cli.engines import cloud_classifier
from deploy.testbed import HOST, LocalTestbed, Ports
from experiments.harness import in_turn as measuring
from experiments.speed import bare_cloud, echo, load
from offline.bundles.write import write_weights
from thinwire.bundle import Bundle, Codec, Merging, load_bundle
from thinwire.cores import model_threads
from thinwire.images import Preprocessing
from thinwire.nn.backbone import build_backbone
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.nn.codec.mlp import MlpEncoder

CONCURRENT = 32
FRAMES = 64


def deit_small(folder: Path) -> Bundle:
    """DeiT-S/16 at 224 pixels, split after six of its twelve layers, with random weights."""
    spec = {"timm": "deit_small_patch16_224"}
    codec = Codec(hidden=384, max_symbols_per_token=16, rates=(16,), snr_db=(-5.0, 20.0))
    torch.manual_seed(0)
    parts = {
        "backbone": build_backbone(spec),
        "encoder": MlpEncoder(384, codec.hidden, codec.max_symbols_per_token),
        "decoder": JsccDecoder(384, codec.hidden, codec.max_symbols_per_token),
    }
    folder.mkdir(parents=True)
    half = (0.5, 0.5, 0.5)
    bundle = Bundle(
        name="deit-small",
        task="classify",
        model=spec,
        split_layer=6,
        depth=12,
        width=384,
        patches=196,
        prefix_tokens=1,
        labels=tuple(f"class {number}" for number in range(1000)),
        preprocessing=Preprocessing(224, 1.0, "bicubic", half, half),
        merging=Merging(),
        codec=codec,
        files=write_weights(parts, folder),
        folder=folder,
    )
    bundle.save()
    return bundle


def bare(classifier: Classifier, frames: Sequence[Any], seconds: float) -> float:
    """Frames per second of the model alone, in batches of as many as there are callers."""
    begin, done = time.perf_counter(), 0
    while time.perf_counter() < begin + seconds:
        at = done % len(frames)
        classifier.classify_frames(frames[at : at + CONCURRENT])
        done += CONCURRENT
    return done / (time.perf_counter() - begin)


def run(bundle: Bundle, repetitions: int, seconds: float) -> dict[str, Any]:
    """Measure one bundle.

    Returns:
        summaries of ``echo``, ``model``, ``bare_service`` and ``service`` in frames per second; of ``share`` and
        ``bare_share``, the last two's of the lesser of the first two, and ``share_of_bare``; and of ``p50_ms`` and
        ``p99_ms`` of the service under this load.
    """
    frames = load.mixed_frames(bundle, FRAMES, 0, received=True)
    received = [load.to_received(frame) for frame in frames]
    classifier = cloud_classifier(bundle, "auto", model_threads())
    ports = Ports.free()
    service = f"{HOST}:{ports.cloud_grpc}"
    with (
        TemporaryDirectory() as logs,
        echo.BareServer(echo.MODULE) as echoing,
        echo.BareServer(bare_cloud.MODULE, str(bundle.folder)) as bare_service,
        LocalTestbed([str(bundle.folder)], ports, log_folder=Path(logs), processes=("cloud",)),
    ):
        found = measuring.in_turn(
            {
                "echo": lambda: load.run(echoing.address, echo.METHOD, frames, CONCURRENT, seconds),
                "model": lambda: bare(classifier, received, seconds),
                "bare service": lambda: load.run(bare_service.address, load.INFER, frames, CONCURRENT, seconds),
                "service": lambda: load.run(service, load.INFER, frames, CONCURRENT, seconds),
            },
            repetitions,
        )
    echoed, bared, served = (
        np.array([one.rate for one in found[name]]) for name in ("echo", "bare service", "service")
    )
    bounds = np.minimum(echoed, found["model"])
    return {
        "bundle": bundle.name,
        "concurrent": CONCURRENT,
        "echo": measuring.summary(echoed),
        "model": measuring.summary(found["model"]),
        "bare_service": measuring.summary(bared),
        "service": measuring.summary(served),
        "share": measuring.summary(served / bounds),
        "bare_share": measuring.summary(bared / bounds),
        "share_of_bare": measuring.summary(served / bared),
        **{
            f"p{percent}_ms": measuring.summary([np.percentile(one.latencies_ms, percent) for one in found["service"]])
            for percent in (50, 99)
        },
    }


def as_text(results: Sequence[dict[str, Any]]) -> str:
    """One table: a row per bundle."""
    return table(
        [
            {
                "bundle": result["bundle"],
                "echo/s": measuring.text(result["echo"], 0),
                "model/s": measuring.text(result["model"], 0),
                "bare service/s": measuring.text(result["bare_service"], 0),
                "service/s": measuring.text(result["service"], 0),
                "share of the lesser": measuring.text(result["share"]),
                "the bare one's": measuring.text(result["bare_share"]),
                "share of the bare one": measuring.text(result["share_of_bare"]),
                "p99 ms": measuring.text(result["p99_ms"], 1),
            }
            for result in results
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, help="beside DeiT-S (default: %(default)s)")
    measuring.add_options(parser, repetitions=7, seconds=3.0)
    options = parser.parse_args(arguments)
    # As the service runs by default.
    torch.set_num_threads(model_threads())
    with TemporaryDirectory() as folder:
        bundles = [load_bundle(options.bundle), deit_small(Path(folder) / "deit-small")]
        results = [run(bundle, options.repetitions, options.seconds) for bundle in bundles]
    measuring.write(options.json, {"results": results})
    print(as_text(results))


if __name__ == "__main__":
    main()
