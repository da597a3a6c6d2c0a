"""What a tower and an encoder cost on the device, counted on their modules."""

from edge.engine import EdgeCost
from thinwire.bundle import Merging
from thinwire.nn.codec.encoder import JsccEncoder
from thinwire.nn.towers.interface import Tower


def count_edge(
    tower: Tower, split_layer: int, merging: Merging, encoder: JsccEncoder | None, sent_prefix: int | None = None
) -> EdgeCost:
    """Count what the device runs.

    Args:
        tower: its layers before ``split_layer`` run on the device.
        split_layer: number of layers on the device.
        merging: how layers merge.
        encoder: the JSCC encoder, or None to leave it out.
        sent_prefix: class and register tokens that are encoded; by default all that run.
    """
    return EdgeCost(
        embedding=tower.embedding_macs(),
        layers=tuple(tower.layer_macs(layer) for layer in range(split_layer)),
        merging=merging,
        width=tower.width,
        prefix=tower.prefix_tokens,
        sent_prefix=tower.prefix_tokens if sent_prefix is None else sent_prefix,
        encoder=0 if encoder is None else encoder.macs_per_token(),
        encoder_attention=0 if encoder is None else encoder.attention_width,
    )
