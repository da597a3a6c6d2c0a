"""The models that are timed, each as it is and on both engines of the device."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge.onnx_engine import OnnxEngine
from edge.torch_engine import TorchEngine
from offline.export.edge import export_edge
from offline.export.export import export
from offline.export.parts import Normalise
from thinwire.bundle import Bundle, Codec, Merging, load_bundle, shipped
from thinwire.exports import EDGE
from thinwire.images import Preprocessing
from thinwire.nn.backbone import VisionTransformer, build_backbone
from thinwire.nn.codec.encoders import MlpEncoder
from thinwire.nn.towers.timm_tower import TimmTower
from thinwire.nn.weights import load_backbone
from thinwire.onnx_session import OnnxSession, open_session
from thinwire.onnx_weights import Model

RATE, SNR_DB = 8, 10.0
# Of models that are no bundle: the paper's, and the one that costs least.
RULES = {"paper": Merging(), "narrow": Merging(metric="value_head", weight="size")}


@dataclass(frozen=True)
class Subject:
    """One model.

    Attributes:
        name: timm's, or a shipped bundle's.
        rule: by which tokens merge; of `RULES`, or "shipped".
        model: the plain model.
        in_torch: the device's engine in torch.
        in_onnx: the one on ONNX Runtime.
        threads: of ONNX Runtime.
    """

    name: str
    rule: str
    model: VisionTransformer
    in_torch: TorchEngine
    in_onnx: OnnxEngine
    threads: int

    @property
    def bundle(self) -> Bundle:
        """What both engines run."""
        return self.in_torch.bundle

    def gmacs(self, counts: NDArray[np.int64]) -> float:
        """What the device computes where so many patch tokens leave each layer, on average over ``images x layers``."""
        entering = np.concatenate((np.full((len(counts), 1), self.bundle.patches), counts), axis=1)
        merged = [bool((entering[:, layer + 1] < entering[:, layer]).any()) for layer in range(counts.shape[1])]
        return float(self.in_torch.cost.gmacs(entering, merged, counts[:, -1]).mean())

    @property
    def plain_gmacs(self) -> float:
        """What the plain model computes for one image."""
        bundle, cost = self.bundle, self.in_torch.cost
        whole = self.gmacs(np.full((1, bundle.split_layer), bundle.patches))
        head = int(self.model.num_features) * int(self.model.num_classes)
        return whole + (head - (bundle.patches + bundle.prefix_tokens) * cost.encoder) / 1e9

    def static(self, module: nn.Module, example: NDArray[Any]) -> Callable[[], object]:
        """Runs a module on an array, as a graph of which no shape is left open."""
        model = export(module, {"x": torch.from_numpy(example)})
        session = open_session(Model(model.SerializeToString()), self.threads)
        feed = {session.get_inputs()[0].name: example}
        return lambda: session.run(None, feed)


def subjects(name: str, rules: Sequence[str], threads: int) -> Iterator[Subject]:
    """A shipped bundle that classifies, or timm's model of a name with random weights, once under each rule."""
    if (shipped() / name).is_dir():
        bundle = load_bundle(name)
        engine = TorchEngine.load(bundle)
        yield Subject(name, "shipped", load_backbone(bundle).eval(), engine, OnnxEngine.load(bundle, threads), threads)
        return
    torch.manual_seed(0)
    model = build_backbone({"timm": name}).eval()
    for rule in rules:
        bundle = bundle_of(name, model, RULES[rule])
        engine = TorchEngine(bundle, TimmTower(model), MlpEncoder(bundle.width, bundle.codec.hidden, 16))
        session = OnnxSession(bundle, EDGE, export_edge(engine).SerializeToString(), threads)
        yield Subject(name, rule, model, engine, OnnxEngine(bundle, session), threads)


def bundle_of(name: str, model: VisionTransformer, merging: Merging, **fields: Any) -> Bundle:
    """A bundle around a model of timm's, the whole backbone on the device but where the fields say otherwise."""
    common = {
        "name": name,
        "task": "classify",
        "model": {"timm": name},
        "split_layer": len(model.blocks),
        "depth": len(model.blocks),
        "width": model.embed_dim,
        "patches": model.patch_embed.num_patches,
        "prefix_tokens": model.num_prefix_tokens,
        "labels": tuple(f"class {number}" for number in range(model.num_classes)),
        "preprocessing": Preprocessing(224, 0.9, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "merging": merging,
        "codec": Codec(hidden=128, max_symbols_per_token=16, rates=(RATE, 16), snr_db=(-5.0, 20.0)),
        "files": {},
    }
    return Bundle(**common | fields)


class Oracle(nn.Module):
    """The device's side of one image with tokens cut off where ours merges them.

    Args:
        engine: whose layers and encoder it runs.
        counts: patch tokens that leave each layer.
    """

    def __init__(self, engine: TorchEngine, counts: NDArray[np.int64]) -> None:
        super().__init__()
        self.tower, self.encoder, self.counts = engine.tower, engine.encoder, counts.tolist()
        self.held = engine.tower.module
        self.normalise = Normalise(engine.bundle.preprocessing)

    def forward(self, x: Tensor) -> Tensor:
        """``size x size x 3`` uint8 pixels to ``tokens x 2 RATE`` real and imaginary parts."""
        x = self.tower.embed(self.normalise(x))
        for layer, count in enumerate(self.counts):
            x = self.tower.attend(layer, x, None).output
            x = self.tower.mlp(layer, x[:, : self.tower.prefix_tokens + count])
        sizes, one = torch.ones(x.shape[:2]), torch.ones(1)
        pairs = self.encoder.pairs(x, sizes, sizes.bool(), one * SNR_DB, one.long() * RATE)
        return pairs[0].flatten(1)[:, : 2 * RATE]


def random_pixels(images: int, size: int, seed: int = 0) -> NDArray[np.uint8]:
    """``images x size x size x 3`` noisy tiles, of another number and contrast in each: some hold more than others."""
    generator = np.random.default_rng(seed)
    made = []
    for number in range(images):
        # The first, which is the one of batch 1, has as many tiles as a model of 224 pixels has patches.
        tiles = 14 - 12 * number // images
        coarse = generator.integers(0, 256, (tiles, tiles, 3))
        rows = np.arange(size) * tiles // size
        made.append(coarse[rows][:, rows] + generator.normal(0, 40 - 30 * number / images, (size, size, 3)))
    return np.clip(np.stack(made), 0, 255).astype(np.uint8)
