"""The numbers that the cost of a transformer is counted from. No torch: an edge without it states its cost, too."""

from typing import Any, NamedTuple

from thinwire.bundle import Merging


class LayerMacs(NamedTuple):
    """What one layer costs.

    Attributes:
        attention: MACs per token of the attention's projections, without the products between tokens.
        mlp: MACs per token of the MLP.
        attention_width: width of all heads together, which the products between tokens go by.
        head_dim: width of one head.
    """

    attention: int
    mlp: int
    attention_width: int
    head_dim: int

    def metric_width(self, merging: Merging) -> int:
        """Width of what similarity is measured on."""
        return self.head_dim if merging.metric in ("value_head", "key_mean") else self.attention_width


def attention_products(tokens: Any, width: int) -> Any:
    """MACs of QK^T and of its product with V, for ``tokens`` (a number or an array) and all heads' ``width``."""
    return 2 * tokens * tokens * width
