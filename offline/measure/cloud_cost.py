"""What the cloud computes for a frame or a question, in multiply-accumulates, as `thinwire.nn.macs` counts them."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cloud.torch_answerer import TorchAnswerer
from cloud.torch_classifier import TorchClassifier
from edge.torch_engine import TorchEngine, count_edge
from offline.data.questioned import QuestionedImages
from offline.measure.evaluator import Measurement
from policies.policy import Objectives
from thinwire.macs import attention_products
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.nn.macs import count_macs
from thinwire.nn.towers.interface import ClassifyingTower
from thinwire.nn.towers.models import classifier_of


class LanguageCost:
    """Counts the projector and the prefill of a LLaVA's language model, up to the first token of the answer.

    Each further token of an answer costs the same whatever was sent, and is left out. The products between tokens count
    whole, as they are computed, though causal attention uses half of them.

    Args:
        model: a ``LlavaForConditionalGeneration``.
        before: tokens of the prompt in front of the image.
    """

    def __init__(self, model: Any, before: int) -> None:
        text = model.config.get_text_config()
        self._before = before
        self._layers: int = text.num_hidden_layers
        head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        self._width: int = text.num_attention_heads * head_dim
        self._per_token = _linear(model.model.language_model.layers)
        self._projector = _linear(model.model.multi_modal_projector)
        self._head: int = text.hidden_size * text.vocab_size

    def prefix_gmacs(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        """Once per frame: projector and prefill of everything up to and including the image.

        Args:
            tokens: ``frames`` numbers of visual tokens.

        Returns:
            ``frames`` 10^9 MACs.
        """
        length = tokens + self._before
        linear = tokens * self._projector + length * self._per_token
        macs: NDArray[np.float64] = (linear + self._layers * attention_products(length, self._width)) / 1e9
        return macs

    def question_gmacs(self, tokens: NDArray[np.int64], question: NDArray[np.int64]) -> NDArray[np.float64]:
        """Once per question: its tokens behind a prefix that is there, and the answer's first token.

        Args:
            tokens: numbers of visual tokens of the frames that the questions are about.
            question: tokens of each prompt behind the image; of a shape that goes with ``tokens``.

        Returns:
            10^9 MACs of each.
        """
        length = tokens + self._before + question
        products = 2 * question * length * self._width
        macs: NDArray[np.float64] = (question * self._per_token + self._layers * products + self._head) / 1e9
        return macs


def decoder_gmacs(decoder: JsccDecoder, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of frames with so many tokens each, in 10^9 MACs."""

    def one(count: int) -> float:
        device = decoder.to_weight.weight.device
        symbols = torch.zeros(1, count, decoder.max_symbols_per_token, dtype=torch.complex64, device=device)
        noise = torch.ones(1, device=device)
        valid = torch.ones(1, count, dtype=torch.bool, device=device)
        # `run_block` calls no attention module, whose products would be counted with it.
        products: int = len(decoder.blocks) * attention_products(count, decoder.to_weight.in_features)
        return (count_macs(decoder, symbols, noise, valid, noise.long()) + products) / 1e9

    known = {count: one(count) for count in np.unique(tokens).tolist()}
    return np.array([known[count] for count in tokens.tolist()])


class _Head(nn.Module):
    def __init__(self, tower: ClassifyingTower) -> None:
        super().__init__()
        # Held so that what counts finds its layers.
        self.held, self.tower = tower.module, tower

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ones = x.new_ones(x.shape[:2])
        return self.tower.head(x, ones, ones.bool())


def head_macs(tower: ClassifyingTower) -> int:
    """Of pooling and head, for a frame with one patch."""
    device = next(tower.module.parameters()).device
    return count_macs(_Head(tower), torch.zeros(1, tower.prefix_tokens + 1, tower.width, device=device))


def classifier_gmacs(classifier: TorchClassifier, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """What a classifier computes for frames of so many tokens: decoder, the layers after the split, head; 10^9 MACs."""
    bundle, tower = classifier.bundle, classifier_of(classifier.model)
    macs = head_macs(tower) * np.ones(len(tokens))
    for layer in (tower.layer_macs(index) for index in range(bundle.split_layer, bundle.depth)):
        macs += tokens * (layer.attention + layer.mlp) + attention_products(tokens, layer.attention_width)
    return decoder_gmacs(classifier.decoder, tokens) + macs / 1e9


class QuestionCompute:
    """What one image and one question about it cost, in 10^9 MACs.

    Attributes:
        tower: of the vision tower alone, nothing merged.
        full: of the whole model, nothing merged.

    Args:
        engine: the device's side.
        answerer: the cloud's.
        images: whose questions are counted, by the mean of their tokens.
    """

    def __init__(self, engine: TorchEngine, answerer: TorchAnswerer, images: QuestionedImages) -> None:
        bundle, prompt = answerer.bundle, answerer.language.prompt
        lengths = {question: len(prompt.after(question)) for question in set(images.questions)}
        self._question = np.array([lengths[question] for question in images.questions])
        self._language = LanguageCost(answerer.language.model, len(prompt.before))
        self._decoder = answerer.decoder
        counts = np.full((1, bundle.steps + 1), bundle.patches)
        bare = count_edge(engine.tower, bundle.split_layer, bundle.merging, None, bundle.prefix_tokens)
        self.tower = float(bare.gmacs(counts, [False] * bundle.steps, counts[:, -1])[0])
        self.full = self.tower + float(self._cloud(np.array([bundle.patches + bundle.prefix_tokens]))[0])

    def _cloud(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        questions: NDArray[np.float64] = self._language.question_gmacs(tokens[:, None], self._question[None]).mean(1)
        return self._language.prefix_gmacs(tokens) + questions

    def expected(self, objectives: Objectives) -> float:
        """Of edge and cloud together for a policy, from what was measured of it on *select*."""
        tokens = np.array([round(objectives.tokens)])
        return objectives.edge_gmacs + float((self._cloud(tokens) + decoder_gmacs(self._decoder, tokens))[0])

    def of(self, measured: Measurement, is_sent: bool) -> dict[str, float]:
        """Means over the images, and the sum's share of the full model; nothing is decoded of what is not sent."""
        edge = float(measured.edge_gmacs.mean()) if is_sent else self.tower
        decoder = decoder_gmacs(self._decoder, measured.tokens) if is_sent else 0.0
        cloud = float((self._cloud(measured.tokens) + decoder).mean())
        return {"edge_gmacs": edge, "cloud_gmacs": cloud, "share_of_full": (edge + cloud) / self.full}


def _linear(module: nn.Module) -> int:
    return sum(one.in_features * one.out_features for one in module.modules() if isinstance(one, nn.Linear))
