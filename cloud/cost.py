"""What the cloud computes for one frame, in multiply-accumulates, counted on the modules that serve."""

import numpy as np
import torch
from numpy.typing import NDArray

from cloud.torch_classifier import TorchClassifier
from thinwire.macs import attention_products
from thinwire.nn.macs import count_macs
from thinwire.nn.towers.timm_tower import TimmTower


def cloud_gmacs(classifier: TorchClassifier, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """What the cloud computes for frames of so many tokens: decoder, the layers after the split, head; 10^9 MACs."""
    decoder, model, bundle = classifier.decoder, classifier.model, classifier.bundle
    tower = TimmTower(model)
    layers = [tower.layer_macs(layer) for layer in range(bundle.split_layer, bundle.depth)]
    head = count_macs(model.head, torch.zeros(1, bundle.width))

    def macs(count: int) -> int:
        symbols = torch.zeros(1, count, decoder.max_symbols_per_token, dtype=torch.complex64)
        rate = torch.tensor([decoder.max_symbols_per_token])
        total = count_macs(decoder, symbols, torch.ones(1), torch.ones(1, count, dtype=torch.bool), rate) + head
        total += sum(count * (layer.attention + layer.mlp) for layer in layers)
        # The products between tokens are functions here, which the counter does not see.
        widths = [int(block.attn.attn_dim) for block in decoder.blocks]  # type: ignore[union-attr, arg-type]
        widths += [layer.attention_width for layer in layers]
        return total + sum(int(attention_products(count, width)) for width in widths)

    different, which = np.unique(tokens, return_inverse=True)
    return np.array([macs(count) / 1e9 for count in different.tolist()])[which]
