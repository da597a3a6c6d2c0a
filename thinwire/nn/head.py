"""What the cloud computes after decoding: the blocks after the split, pooling by size, the classifier."""

from torch import Tensor

from thinwire.nn.attention import key_bias, run_block
from thinwire.nn.backbone import VisionTransformer
from thinwire.nn.packed import Packing, run_packed


def classify_tokens(
    model: VisionTransformer, split_layer: int, x: Tensor, weights: Tensor, valid: Tensor, proportional_attention: bool
) -> Tensor:
    """Finish the forward pass of a backbone on a set of tokens.

    Args:
        model: its blocks from ``split_layer`` on, final norm and head are used.
        x: ``batch x N x D`` tokens, those of the prefix first.
        weights: ``batch x N`` share of the patches in each token; any scale.
        valid: ``batch x N`` bool, false for padding.
        proportional_attention: as in `thinwire.bundle.Merging`: whether attention counts a token as often as it has
            patches. A factor common to all weights of a frame changes nothing then.

    Returns:
        ``batch x classes`` logits.

    Raises:
        ValueError: the model pools in a way other than "avg" or "token".
    """
    padded = None if bool(valid.all()) else valid
    bias = key_bias(padded, weights if proportional_attention else None, x.dtype)
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
        raise _unknown_pool(model)
    logits: Tensor = model.head(model.fc_norm(pooled))
    return logits


def classify_packed(
    model: VisionTransformer,
    split_layer: int,
    x: Tensor,
    weights: Tensor,
    packing: Packing,
    proportional_attention: bool,
) -> Tensor:
    """`classify_tokens` without padding, for serving.

    Args:
        x: ``T x D`` tokens of all frames, those of the prefix first in each.
        weights: ``T`` shares of the patches.
        packing: which rows are whose.
        proportional_attention: as for `classify_tokens`.

    Returns:
        ``frames x classes`` logits.

    Raises:
        ValueError: as for `classify_tokens`.
    """
    sizes = weights if proportional_attention else None
    for block in model.blocks[split_layer:]:
        x = run_packed(block, x, packing, sizes)
    if model.global_pool == "token":
        pooled = model.norm(packing.first(x))
    elif model.global_pool == "avg":
        patches = packing.position >= model.num_prefix_tokens
        shares = (weights * patches)[:, None]
        pooled = packing.per_set(model.norm(x) * shares) / packing.per_set(shares)
    else:
        raise _unknown_pool(model)
    logits: Tensor = model.head(model.fc_norm(pooled))
    return logits


def _unknown_pool(model: VisionTransformer) -> ValueError:
    return ValueError(f"expected a model that pools by 'avg' or 'token', got {model.global_pool!r}")
