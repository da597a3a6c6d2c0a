"""What `benchmarks.edge` times: engines around random weights, thresholds that reach given counts, and oracles."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge.onnx_engine.engine import OnnxEngine
from edge.torch_engine.engine import TorchEngine
from edge.torch_engine.matching import top
from edge.torch_engine.mlp_encoder import MlpEncoder
from edge.torch_engine.tome import TOME
from edge.torch_engine.vit import rules_for
from offline.onnx_export.edge import Normalise, export_edge
from offline.onnx_export.export import export
from policies.policy import Policy
from thinwire.bundle import Bundle, Codec, Merging
from thinwire.exports import EDGE
from thinwire.images import Preprocessing, normalise
from thinwire.nn.backbone import VisionTransformer
from thinwire.nn.towers.timm_tower import TimmTower
from thinwire.onnx_session import OnnxSession, open_session

RATE, SNR_DB = 8, 10.0
# Layers from one that merges to the next, by the schedule's name; the first layer merges.
STEPS = {"every": 1, "third": 3, "fourth": 4}
# Between the last similarity that merges and the first that does not: far above what engines differ by.
LEAST_GAP = 2e-5


@dataclass(frozen=True)
class Case:
    """One model under one schedule.

    Attributes:
        counts: patch tokens that leave each layer.
        gmacs: what the device computes.
        plain_gmacs: what the plain model does.
        images: the image as the plain model reads it.
        onnx: runs of ONNX Runtime by name, each of which computes the image once.
        torch: likewise of torch.
    """

    model: str
    schedule: str
    counts: tuple[int, ...]
    gmacs: float
    plain_gmacs: float
    images: NDArray[np.float32]
    onnx: dict[str, Callable[[], object]]
    torch: dict[str, Callable[[], object]]


def export_static(module: nn.Module, example: Tensor) -> bytes:
    """A module with one input ``x``, nothing of its shapes left open."""
    return export(module, {"x": example}).SerializeToString()


def plain_onnx(model: VisionTransformer, threads: int) -> Callable[[NDArray[np.float32]], object]:
    """timm's own model as it is."""
    session = open_session(export_static(model, torch.zeros(1, 3, 224, 224)), threads)
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})


def bundle_of(name: str, model: VisionTransformer, merging: Merging) -> Bundle:
    """A bundle around a model whose last block is the device's last."""
    return Bundle(
        name=name,
        task="classify",
        model={"timm": name},
        split_layer=len(model.blocks),
        depth=len(model.blocks),
        width=model.embed_dim,
        patches=model.patch_embed.num_patches,
        prefix_tokens=model.num_prefix_tokens,
        labels=("any",),
        preprocessing=Preprocessing(224, 0.9, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        merging=merging,
        codec=Codec(hidden=128, max_symbols_per_token=16, rates=(RATE, 16), snr_db=(-5.0, 20.0)),
        files={},
    )


class _Oracle(nn.Module):
    """The device's side with tokens cut off where ours merges them."""

    def __init__(self, engine: TorchEngine, counts: Sequence[int]) -> None:
        super().__init__()
        self.tower, self.encoder, self.counts = engine.tower, engine.encoder, counts
        self.held = engine.tower.module
        self.normalise = Normalise(engine.bundle.preprocessing)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tower.embed(self.normalise(x))
        for layer, count in enumerate(self.counts):
            x = self.tower.attend(layer, x, None).output
            x = self.tower.mlp(layer, x[:, : self.tower.prefix_tokens + count])
        sizes, one = torch.ones(x.shape[:2]), torch.ones(1)
        pairs = self.encoder.pairs(x, sizes, sizes.bool(), one * SNR_DB, one.long() * RATE)
        return pairs[0].flatten(1)[:, : 2 * RATE]


def schedule_of(kind: str, layers: int, patches: int, moved: float) -> tuple[int, ...]:
    """Patch tokens that leave each layer.

    Args:
        kind: of `STEPS`.
        moved: tokens that merge at each such layer on average; half of what there is at most.
    """
    step = STEPS[kind]
    counts, left, wanted = [], patches, float(patches)
    for layer in range(layers):
        if layer % step == 0:
            wanted -= moved
            left = max(round(wanted), (left + 1) // 2, 1)
        counts.append(left)
    return tuple(counts)


def _reached(engine: TorchEngine, pixels: NDArray[np.uint8], counts: Sequence[int]) -> tuple[float, ...]:
    """Thresholds under which an image reaches these counts, or nearly: where similarities lie too close, the next."""
    tokens, thresholds = engine.embed(pixels[None]), []
    for layer, count in enumerate(counts):
        moved = int(tokens.counts[0]) - count
        if moved <= 0:
            thresholds.append(1.0)
        else:
            best: list[Tensor] = []

            def keep(values: Tensor, best: list[Tensor] = best) -> Tensor:
                best.append(values)
                return torch.zeros_like(values, dtype=torch.bool)

            engine.run(tokens, [keep], layer)
            ordered = [*best[0][0].sort(descending=True).values.tolist(), -1.0]
            while moved < len(ordered) - 1 and ordered[moved - 1] - ordered[moved] < LEAST_GAP:
                moved += 1
            thresholds.append((ordered[moved - 1] + ordered[moved]) / 2)
        tokens, _ = engine.run(tokens, rules_for(thresholds[-1:]), layer)
    return tuple(thresholds)


def _tome(engine: TorchEngine, pixels: NDArray[np.uint8], merged: Sequence[int]) -> object:
    """ToMe with the same numbers of tokens merged at each layer, given from outside as its ``r`` is."""
    rules = [top(count) if count else None for count in merged]
    return engine.transmit(engine.transform(pixels[None], rules), RATE, SNR_DB)


def make_cases(
    name: str, model: VisionTransformer, saved: Sequence[float], schedules: Sequence[str], threads: int
) -> Iterator[Case]:
    """A case for each schedule and each share of MACs that is to be saved."""
    bundle = bundle_of(name, model, Merging())
    torch.manual_seed(1)
    engine = TorchEngine(bundle, TimmTower(model), MlpEncoder(bundle.width, bundle.codec.hidden, 16))
    onnx_engine = OnnxEngine(bundle, OnnxSession(bundle, EDGE, export_edge(engine).SerializeToString(), threads))
    tome = TorchEngine(bundle_of(name, model, TOME), TimmTower(model), engine.encoder)
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (14, 14, 3)).repeat(16, axis=0).repeat(16, axis=1)
    pixels = np.clip(coarse + generator.normal(0, 40, coarse.shape), 0, 255).astype(np.uint8)
    images = normalise(pixels[None], bundle.preprocessing)
    layers, patches = bundle.split_layer, bundle.patches

    def gmacs_of(counts: Sequence[int]) -> float:
        entering = (patches, *counts)
        merged = [before > after for before, after in zip(entering, counts, strict=False)]
        return float(engine.cost.gmacs(np.array([entering]), merged, np.array([counts[-1]]))[0])

    head = model.num_features * model.num_classes / 1e9
    plain_gmacs = gmacs_of((patches,) * layers) - engine.cost.encoding(patches + 1) / 1e9 + head
    tensor = torch.from_numpy(images)

    @torch.inference_mode()
    def plain_torch() -> object:
        return model(tensor)

    for kind in schedules:
        for share in saved:
            choices = [schedule_of(kind, layers, patches, moved) for moved in np.arange(0.25, patches / 2, 0.25)]
            wanted = min(choices, key=lambda counts: abs(1 - gmacs_of(counts) / plain_gmacs - share))
            policy = Policy(_reached(engine, pixels, wanted), RATE)
            ours = onnx_engine.encode(pixels, policy, SNR_DB)
            counts = tuple(count - bundle.prefix_tokens for count in ours.tokens_per_layer)
            kept = [before - after for before, after in zip((patches, *counts), counts, strict=False)]
            oracle = open_session(export_static(_Oracle(engine, counts), torch.from_numpy(pixels)), threads)
            feed: dict[str, Any] = {oracle.get_inputs()[0].name: pixels}
            yield Case(
                name,
                kind,
                counts,
                ours.edge_gmacs,
                plain_gmacs,
                images,
                {
                    "onnxruntime": partial(onnx_engine.encode, pixels, policy, SNR_DB),
                    "oracle": partial(oracle.run, None, feed),
                },
                {
                    "timm": plain_torch,
                    "torch": partial(engine.encode, pixels, policy, SNR_DB),
                    "tome": partial(_tome, tome, pixels, kept),
                },
            )
