"""What the cloud computes after decoding: the blocks after the split, pooling by size, the classifier."""

import torch
from torch import Tensor

from thinwire.nn.attention import key_bias, run_block
from thinwire.nn.backbone import VisionTransformer


def classify_tokens(model: VisionTransformer, split_layer: int, x: Tensor, weights: Tensor, valid: Tensor) -> Tensor:
    """Finish the forward pass of a backbone on a set of tokens.

    Args:
        model: its blocks from ``split_layer`` on, final norm and head are used.
        x: ``batch x N x D`` tokens, those of the prefix first.
        weights: ``batch x N`` share of the patches in each token; any scale.
        valid: ``batch x N`` bool, false for padding.

    Returns:
        ``batch x classes`` logits.

    Raises:
        ValueError: the model pools in a way other than "avg" or "token".
    """
    bias = None if bool(valid.all()) else key_bias(valid, None, x.dtype)
    return finish(model, split_layer, x, weights, valid, bias)


def finish(
    model: VisionTransformer, split_layer: int, x: Tensor, weights: Tensor, valid: Tensor, bias: Tensor | None
) -> Tensor:
    """`classify_tokens` under a bias on the keys that is given, so that nothing depends on what ``valid`` holds."""
    for block in model.blocks[split_layer:]:
        x = run_block(block, x, bias)
    x = model.norm(x)
    if model.global_pool == "token":
        pooled = x[:, 0]
    elif model.global_pool == "avg":
        patch_weights = (weights * valid)[:, model.num_prefix_tokens :, None]
        pooled = (x[:, model.num_prefix_tokens :] * patch_weights).sum(1) / patch_weights.sum(1)
    else:
        raise ValueError(f"expected a model that pools by 'avg' or 'token', got {model.global_pool!r}")
    logits: Tensor = model.head(model.fc_norm(pooled))
    return logits


def pad(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack ``N_i x ...`` tensors as ``batch x max(N) x ...`` with zeros.

    Returns:
        the stack, and a ``batch x max(N)`` bool, false for padding.
    """
    counts = torch.tensor([len(row) for row in rows])
    valid = torch.arange(int(counts.max())) < counts[:, None]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), valid
