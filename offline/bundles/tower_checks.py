"""The four measurements of one tower, each on what the one before left."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cloud.onnx_classifier import OnnxClassifier
from cloud.torch_classifier import TorchClassifier
from edge.onnx_engine import OnnxEngine
from edge.torch_engine import TorchEngine
from offline.bundles.named_model import NamedModel
from offline.bundles.naming import name_model
from offline.bundles.own_output import check_split_classifier, perturbed
from offline.bundles.tower_pictures import by_timm, by_transformers, in_words, of_processor, other_pictures
from offline.bundles.tower_table import CLASSES, LAYERS, TOLERANCE, TRANSFORMERS
from offline.bundles.untrained import describe
from offline.bundles.write import write_bundle
from offline.export.bundle import export_bundle
from policies.policy import Policy
from thinwire.equalise import ReceivedTokens
from thinwire.errors import BundleError
from thinwire.images import Preprocessing
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.nn.codec.encoders import build_encoder
from thinwire.nn.merging.matching import Rule
from thinwire.nn.towers.hub_model import config_fields
from thinwire.nn.weights import build_classifier

State = dict[str, Any]
SNR_DB = 10.0


def steps() -> tuple[tuple[str, Callable[[State], None]], ...]:
    """Name of the column and what fills it; each raises what stands in the row's reason."""
    return (("built", _build), ("equal", _compare), ("merged", _merge), ("exported", _export))


def _build(state: State) -> None:
    name: str = state["name"]
    processor = None
    if name.startswith(TRANSFORMERS):
        named, processor = _small(name.removeprefix(TRANSFORMERS), state["folder"].with_name("processor"))
    else:
        named = _named(name)
    tower = named.plan()
    torch.manual_seed(0)
    state["model"] = perturbed(build_classifier(named.spec).eval())
    state["bundle"] = describe(named, tower, state["folder"])
    state["preprocessing"] = in_words(named.preprocessing)
    theirs = by_timm(state["model"]) if processor is None else by_transformers(processor)
    state["remark"] = other_pictures(named.preprocessing, theirs)


def _named(name: str) -> NamedModel:
    try:
        return name_model(name, CLASSES, random=True, depth=LAYERS)
    except BundleError:
        # A few state something for each layer, so that their depth is fixed.
        return name_model(name, CLASSES, random=True)


def _small(architecture: str, folder: Path) -> tuple[NamedModel, Any]:
    """transformers' classes have no names that say a size; their defaults, cut to two layers, and image processor."""
    preprocessing, processor = of_processor(architecture, folder)
    config: dict[str, Any] = {"num_hidden_layers": LAYERS}
    if "Registers" in architecture or "DINOv3" in architecture:
        config["num_register_tokens"] = 4
    if preprocessing is not None and "image_size" in config_fields(architecture):
        config["image_size"] = preprocessing.size
    spec = {"tower": "transformers", "architecture": architecture, "config": config, "classes": CLASSES}
    if preprocessing is None:
        with torch.device("meta"):
            size = build_classifier(spec).image_size
        preprocessing = Preprocessing(size, 1.0, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "squash")
    labels = tuple(map(str, range(CLASSES)))
    return NamedModel(architecture, spec, preprocessing, labels, None, False), processor


def _compare(state: State) -> None:
    bundle = state["bundle"]
    check_split_classifier(state["model"], bundle.split_layer, bundle.merging, bundle.preprocessing)


def _merge(state: State) -> None:
    bundle = state["bundle"]
    codec = bundle.codec
    parts = {
        "backbone": state.pop("model"),
        "encoder": build_encoder(codec, bundle.width),
        "decoder": JsccDecoder(bundle.width, codec.hidden, codec.max_symbols_per_token),
    }
    bundle = write_bundle(bundle, parts)
    del parts
    size = bundle.preprocessing.size
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    engine = TorchEngine.load(bundle)
    found: list[float] = []
    engine.transform(pixels[None], [_widest_gap(found)] * bundle.split_layer)
    policy = Policy.create(found, max(codec.rates))
    encoded = engine.encode(pixels, policy, SNR_DB)
    present = bundle.prefix_tokens + bundle.patches
    if not len(encoded.sizes) < present or encoded.sizes.sum() != present:
        raise BundleError(f"merged: expected fewer than {present} tokens of as many patches, got {len(encoded.sizes)}")
    frame = ReceivedTokens(encoded.symbols, 0.1)
    classifier = TorchClassifier.load(bundle)
    logits = classifier.classify_frames([frame])
    if not np.isfinite(logits).all():
        raise BundleError("merged: expected finite logits, got others")
    state |= {"bundle": bundle, "pixels": pixels, "policy": policy, "encoded": encoded, "frame": frame}
    state |= {"logits": logits, "plain": classifier.classify_images(pixels[None])}


def _widest_gap(found: list[float]) -> Rule:
    """Merges about a quarter of the sources, by a threshold that is far from any similarity; which is noted."""

    def rule(best: Tensor) -> Tensor:
        ordered = best[0][best[0].isfinite()].sort(descending=True).values
        least, most = max(1, len(ordered) // 5), max(2, len(ordered) // 3)
        gaps = ordered[least - 1 : most - 1] - ordered[least:most]
        at = least + int(gaps.argmax()) if len(gaps) else len(ordered)
        found.append(float((ordered[at - 1] + ordered[at]) / 2) if at < len(ordered) else -1.0)
        return best > found[-1]

    return rule


def _export(state: State) -> None:
    bundle = export_bundle(state["bundle"])
    encoded = OnnxEngine.load(bundle).encode(state["pixels"], state["policy"], SNR_DB)
    own = state["encoded"]
    if encoded.tokens_per_layer != own.tokens_per_layer or not np.array_equal(encoded.sizes, own.sizes):
        raise BundleError(
            f"exported: expected torch's {own.tokens_per_layer} tokens a layer, got {encoded.tokens_per_layer}"
        )
    _agree("symbols", encoded.symbols, own.symbols)
    classifier = OnnxClassifier.load(bundle)
    _agree("the logits of a frame", classifier.classify_frames([state["frame"]]), state["logits"])
    _agree("the logits of an image", classifier.classify_images(state["pixels"][None]), state["plain"])


def _agree(what: str, ours: NDArray[Any], own: NDArray[Any]) -> None:
    difference = float(np.abs(ours - own).max() / max(float(np.abs(own).max()), 1e-12))
    if not difference <= TOLERANCE:
        raise BundleError(
            f"exported: {what}: expected torch's own to {TOLERANCE:g}, got {difference:.2g} of the largest"
        )
