"""Frames per second of the cloud under load, against the two things that bound it."""

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from cloud.answerer import Classifier
from deploy.cli.engines import cloud_classifier
from deploy.ports import HOST
from experiments.device.subjects import bundle_of
from experiments.harness.experiment import Experiment
from experiments.harness.in_turn import in_turn, median
from experiments.harness.options import BUNDLE, repeated
from experiments.harness.processes import running
from experiments.harness.report import Cell, Report, Table
from experiments.harness.setting import Setting
from experiments.service import callers
from experiments.service.bare_echo import METHOD, bare_server
from offline.bundles.write import write_weights
from thinwire.bundle import Bundle, Codec, Merging
from thinwire.cores import model_threads
from thinwire.nn.backbone import build_backbone
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.nn.codec.encoders import MlpEncoder

CONCURRENT = 32
FRAMES = 64


def deit_small(folder: Path) -> Bundle:
    """DeiT-S/16 at 224 pixels, split after six of its twelve layers, with random weights."""
    torch.manual_seed(0)
    name, size = "deit_small_patch16_224", (384, 384, 16)
    parts = {
        "backbone": (model := build_backbone({"timm": name})),
        "encoder": MlpEncoder(*size),
        "decoder": JsccDecoder(*size),
    }
    folder.mkdir(parents=True)
    codec = Codec(hidden=384, max_symbols_per_token=16, rates=(16,), snr_db=(-5.0, 20.0))
    fields: dict[str, Any] = {"split_layer": 6, "codec": codec, "files": write_weights(parts, folder), "folder": folder}
    bundle = bundle_of(name, model, Merging(), **fields)
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


def _row(bundle: Bundle, repetitions: int, seconds: float) -> dict[str, Cell]:
    """One bundle: echo, model, bare service and service in frames per second, and their shares."""
    frames = callers.mixed_frames(bundle, FRAMES, 0, received=True)
    received = [callers.to_received(frame) for frame in frames]
    classifier = cloud_classifier(bundle, "auto", model_threads())
    with (
        bare_server("bare_echo") as echo,
        bare_server("bare_cloud", str(bundle.folder)) as bare_service,
        running([bundle], processes=("cloud",)) as testbed,
    ):
        service = f"{HOST}:{testbed.ports.cloud_grpc}"
        found = in_turn(
            {
                "echo": lambda: callers.run(echo, METHOD, frames, CONCURRENT, seconds),
                "model": lambda: bare(classifier, received, seconds),
                "bare service": lambda: callers.run(bare_service, callers.INFER, frames, CONCURRENT, seconds),
                "service": lambda: callers.run(service, callers.INFER, frames, CONCURRENT, seconds),
            },
            repetitions,
        )
    echoed, bared, served = (found[name][:, 0] for name in ("echo", "bare service", "service"))
    bounds = np.minimum(echoed, found["model"])
    return {
        "bundle": bundle.name,
        "echo/s": median(echoed),
        "model/s": median(found["model"]),
        "bare service/s": median(bared),
        "its share of the lesser": median(bared / bounds),
        "service/s": median(served),
        "share of the lesser": median(served / bounds),
        "share of the bare service": median(served / bared),
        "p50, ms": median(found["service"][:, 1]),
        "p99, ms": median(found["service"][:, 2]),
    }


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    # As the service runs by default.
    torch.set_num_threads(model_threads())
    with TemporaryDirectory() as folder:
        bundles = [setting.bundle]
        if not setting.quick:
            bundles.append(deit_small(Path(folder) / "deit-small"))
        rows = [_row(bundle, setting.options.repetitions, setting.options.seconds) for bundle in bundles]
    timed = [key for key in rows[0] if key != "bundle"]
    digits = {key: 2 if "share" in key else 0 for key in timed if not key.endswith("ms")}
    return Report([Table(f"Frames per second, {CONCURRENT} callers", rows, digits, timed)])


EXPERIMENT = Experiment(
    name="cloud",
    title="The cloud under load",
    about=f"""
{CONCURRENT} callers send frames of mixed lengths to `thinwire cloud serve`; in turn with it a bare `grpc.aio` echo gets
the same bytes from the same callers, and the model alone runs batches of the same frames. The first bound is what the
transport can do on this machine, the second what the model can; the service's share of the lesser is reported, of each
repetition by itself. Callers, transport and model share the machine's cores, so a third bound, a bare server around the
model (`experiments/service/bare_cloud.py`), is what transport and model can do together; the service's share of it says
what the service itself costs. Once with a shipped bundle, and once with a DeiT-S that is split in the middle (random
weights, in a temporary folder).
""",
    run=run,
    data=(),
    packages=("onnxruntime", "grpc"),
    options=BUNDLE | repeated(7, 3.0),
)
