"""The next token of one answer."""

import torch
from torch import Tensor


def draw(logits: Tensor, temperature: float, top_p: float, uniform: float) -> int:
    """Draw a token by nucleus sampling (Holtzman et al., 2020, "The curious case of neural text degeneration").

    The fewest likeliest tokens that together have the probability ``top_p`` are kept, and one of them is drawn in
    proportion to its probability. The number that decides is an argument, so that a draw depends on nothing around it.

    Args:
        logits: one per token of the vocabulary.
        temperature: above 0; what the logits are divided by.
        top_p: above 0 and up to 1.
        uniform: in [0, 1).
    """
    # Shifted first: a tiny temperature then leaves zeros for the best ones, and not infinities.
    logits = logits.detach().double().cpu()
    probabilities = torch.softmax((logits - logits.max()) / temperature, dim=-1)
    ranked, order = probabilities.sort(descending=True, stable=True)
    below = ranked.cumsum(0) - ranked
    kept = ranked * (below < top_p)
    limits = kept.cumsum(0)
    rank = int(torch.searchsorted(limits, uniform * float(limits[-1]), right=True))
    # Rounding can put the last of the draws one past the end.
    return int(order[min(rank, int((kept > 0).sum()) - 1)])
