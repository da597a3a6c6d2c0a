"""What the decoder attends to: the received tokens of several clips, each of a length of its own."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.modeling_outputs import BaseModelOutput


@dataclass(frozen=True)
class Memory:
    """A batch of clips.

    Attributes:
        tokens: ``batch x longest x width``, zeros behind the shorter ones.
        bias: ``batch x 1 x 1 x longest``, added to the logits of cross-attention: -inf for padding, and the logarithms
            of the sizes where they count; None where all of it would be 0.
    """

    tokens: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, clips: Sequence[Tensor], sizes: Sequence[Tensor] | None) -> "Memory":
        """A batch of ``N_i x width`` tokens and, where they count, ``N_i`` sizes."""
        tokens = pad_sequence(list(clips), batch_first=True)
        lengths = torch.tensor([len(clip) for clip in clips], device=tokens.device)
        is_padding = torch.arange(tokens.shape[1], device=tokens.device) >= lengths[:, None]
        bias = torch.zeros(is_padding.shape, device=tokens.device)
        if sizes is not None:
            bias += pad_sequence([one.to(bias) for one in sizes], batch_first=True, padding_value=1.0).log()
        bias = bias.masked_fill(is_padding, float("-inf"))
        return cls(tokens, bias.to(tokens.dtype)[:, None, None] if bool(bias.any()) else None)

    @property
    def outputs(self) -> BaseModelOutput:
        """As the decoder takes it in place of an encoder's output."""
        tokens: Any = self.tokens
        return BaseModelOutput(last_hidden_state=tokens)

    @contextmanager
    def attended_by(self, model: Any) -> Iterator[None]:
        """Within this, cross-attention heeds the bias; of one thread at a time.

        transformers hands the decoder's cross-attention no mask, and ignores one beside ``encoder_outputs``.
        """
        bias = self.bias

        def add_bias(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            assert bias is not None
            # Beams of a clip stand side by side.
            beams = args[0].shape[0] // len(bias)
            return args, kwargs | {"attention_mask": bias.repeat_interleave(beams, 0)}

        with ExitStack() as hooks:
            for layer in model.model.decoder.layers if bias is not None else ():
                hooks.callback(layer.encoder_attn.register_forward_pre_hook(add_bias, with_kwargs=True).remove)
            yield
