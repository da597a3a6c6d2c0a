"""The baseline: token merging with a fixed number per layer (Bolya et al., 2023, "Token merging: your ViT but faster").

Written from the paper: similarity on the keys, averaged over the heads; a fixed number r of the most similar sources
merges at every layer, between attention and MLP; averages weighted by size; attention logits biased by the logarithm
of the key token's size (its equation 1); the class token never merges.
"""

from thinwire.bundle import Merging
from thinwire.nn.merging.matching import Rule, top

TOME = Merging(metric="key_mean", weight="size", proportional_attention=True, place="attention")


def fixed_rules(layers: int, r: int) -> list[Rule | None]:
    """Merge ``r`` tokens at each layer, or half of the patch tokens where fewer are left than 2 r."""
    return [top(r) if r > 0 else None] * layers
