"""The visual prefix: what the language model makes of everything up to and including the image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache

from thinwire.errors import InvalidFrameError


@dataclass(frozen=True)
class VisualPrefix:
    """The key-value cache of one frame.

    Attributes:
        layers: keys and values of each layer, ``1 x heads x length x head_dim``.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]

    @property
    def length(self) -> int:
        """Tokens: those of the text before the image, and the visual ones."""
        return self.layers[0][0].shape[-2]

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return sum(tensor.nbytes for layer in self.layers for tensor in layer)


def compute_prefixes(
    model: Any, before: Sequence[int], features: Sequence[Tensor]
) -> list[VisualPrefix | InvalidFrameError]:
    """Run the language model over the prefixes of several frames at once.

    They are padded on the right, which causal attention never looks at: no mask is needed.

    Args:
        model: a ``LlavaForConditionalGeneration``.
        before: ids of the text before the image.
        features: ``N_i x width`` visual tokens of each frame, projected.

    Returns:
        one for each frame; an error for those that give no finite numbers.
    """
    embeddings = model.get_input_embeddings()
    text = embeddings(torch.tensor([list(before)], dtype=torch.long, device=embeddings.weight.device))[0]
    rows = [torch.cat((text, visual.to(text))) for visual in features]
    cache: Any = DynamicCache()
    model.model(inputs_embeds=pad_sequence(rows, batch_first=True), past_key_values=cache, use_cache=True)
    found: list[VisualPrefix | InvalidFrameError] = []
    for index, row in enumerate(rows):
        # Copies, since a view of one row would keep the memory of the whole batch.
        prefix = VisualPrefix(
            tuple(
                (
                    layer.keys[index : index + 1, :, : len(row)].clone(),
                    layer.values[index : index + 1, :, : len(row)].clone(),
                )
                for layer in cache.layers
            )
        )
        # What is not finite stays so to the last layer.
        is_finite = all(bool(tensor.isfinite().all()) for tensor in prefix.layers[-1])
        found.append(prefix if is_finite else InvalidFrameError("the model has no finite answer for these symbols"))
    return found


def join(prefixes: Sequence[VisualPrefix]) -> tuple[DynamicCache, Tensor]:
    """One cache for a batch, padded on the left; the prefixes themselves stay as they are.

    Returns:
        the cache, and a ``batch x longest`` mask on its device: 1 for tokens, 0 for padding.
    """
    longest = max(prefix.length for prefix in prefixes)
    cache = DynamicCache()
    for index, layers in enumerate(zip(*(prefix.layers for prefix in prefixes), strict=True)):
        keys, values = (
            torch.cat([pad(layer[part], (0, 0, longest - layer[part].shape[-2], 0)) for layer in layers])
            for part in (0, 1)
        )
        cache.update(keys, values, index)
    lengths = torch.tensor([prefix.length for prefix in prefixes])
    mask = torch.arange(longest) >= longest - lengths[:, None]
    return cache, mask.long().to(prefixes[0].layers[0][0].device)
