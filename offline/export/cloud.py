"""The classifying cloud as two ONNX graphs: what runs on frames, and the plain model on images."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import torch
from onnx import helper
from torch import Tensor, nn

from cloud.torch_classifier import TorchClassifier
from offline.export.export import export
from offline.export.parts import Normalise
from thinwire.bundle import Bundle
from thinwire.exports import CLOUD_INPUTS, FORMAT, LOGITS, METADATA, PLAIN_INPUTS
from thinwire.nn.attention import key_bias
from thinwire.nn.head import classify_images, finish
from thinwire.nn.towers.hub_model import HubModel
from thinwire.nn.towers.interface import RotaryTower
from thinwire.nn.towers.models import classifier_of

BATCH = torch.export.Dim("frames", min=1)
TOKENS = torch.export.Dim("tokens", min=1)


class _Frames(nn.Module):
    def __init__(self, classifier: TorchClassifier) -> None:
        super().__init__()
        self.decoder, self.model = classifier.decoder, classifier.model
        self.split_layer = classifier.bundle.split_layer
        self.proportional_attention = classifier.bundle.merging.proportional_attention

    def forward(self, symbols: Tensor, noise_variance: Tensor, valid: Tensor, symbols_per_token: Tensor) -> Tensor:
        x, weights = self.decoder.decode_pairs(symbols, noise_variance, valid, symbols_per_token)
        bias = key_bias(valid, weights if self.proportional_attention else None, x.dtype)
        return finish(self.model, self.split_layer, x, weights, valid, bias)


class _Images(nn.Module):
    def __init__(self, classifier: TorchClassifier) -> None:
        super().__init__()
        self.model = classifier.model
        self.tower = tower = classifier_of(classifier.model)
        if isinstance(tower, RotaryTower) and tower.rotary:
            # See `offline.export.parts`: read off before anything is traced.
            tower.attend_at(0, torch.zeros(1, 1, classifier.bundle.width), None, torch.zeros(1, 1, 3))
        self.normalise = Normalise(classifier.bundle.preprocessing)

    def forward(self, pixels: Tensor) -> Tensor:
        images = self.normalise.batch(pixels)
        if not isinstance(self.model, HubModel):
            logits: Tensor = self.model(images)
            return logits
        # transformers' own forward pass goes through hooks and masks that nothing exports.
        return classify_images(self.tower, images)


def export_cloud(classifier: TorchClassifier) -> onnx.ModelProto:
    """Decoder, the blocks after the split and the head, for frames of any token counts and rates together."""
    highest = classifier.decoder.max_symbols_per_token
    arguments = {
        "symbols": torch.randn(2, 5, highest, 2),
        "noise_variance": torch.tensor([0.1, 0.2]),
        "valid": torch.tensor([[True] * 5, [True] * 3 + [False] * 2]),
        "symbols_per_token": torch.tensor([highest, 1]),
    }
    dynamic = {
        "symbols": {0: BATCH, 1: TOKENS},
        "noise_variance": {0: BATCH},
        "valid": {0: BATCH, 1: TOKENS},
        "symbols_per_token": {0: BATCH},
    }
    model = export(_Frames(classifier), arguments, dynamic)
    return _finished(model, CLOUD_INPUTS, classifier.bundle)


def export_plain(classifier: TorchClassifier) -> onnx.ModelProto:
    """The plain model on a batch of images."""
    size = classifier.bundle.preprocessing.size
    arguments = {"pixels": torch.zeros(2, size, size, 3, dtype=torch.uint8)}
    return _finished(export(_Images(classifier), arguments, {"pixels": {0: BATCH}}), PLAIN_INPUTS, classifier.bundle)


def _finished(model: onnx.ModelProto, inputs: Sequence[tuple[str, str]], bundle: Bundle) -> onnx.ModelProto:
    assert [value.name for value in model.graph.input] == [name for name, _ in inputs]
    model.graph.node.append(helper.make_node("Identity", [model.graph.output[0].name], list(LOGITS)))
    model.graph.output[0].name = LOGITS[0]
    # Shapes of torch's own naming, which nothing reads.
    model.graph.ClearField("value_info")
    metadata: Mapping[str, Any] = {"format": FORMAT, "bundle": bundle.digest}
    model.ClearField("metadata_props")
    helper.set_model_props(model, {METADATA: json.dumps(metadata)})
    return model
