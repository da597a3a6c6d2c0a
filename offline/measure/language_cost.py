"""What the cloud computes to answer a question, in multiply-accumulates; see `thinwire.nn.macs` for what counts."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from thinwire.macs import attention_products
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.nn.macs import count_macs


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


def _linear(module: nn.Module) -> int:
    return sum(one.in_features * one.out_features for one in module.modules() if isinstance(one, nn.Linear))
