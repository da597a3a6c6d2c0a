"""A bundle of any tower with random weights, in seconds: how a tower is tried before anything is trained."""

import logging
from pathlib import Path

import torch

from offline.bundles.folders import check_output
from offline.bundles.named_model import NamedModel
from offline.bundles.own_output import check_split_classifier, perturbed
from offline.bundles.write import write_bundle
from thinwire.bundle import Bundle, Codec, Merging
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.nn.codec.encoders import build_encoder
from thinwire.nn.towers.interface import ClassifyingTower

log = logging.getLogger(__name__)
# Those of the shipped bundles.
MERGING = Merging(metric="value", weight="size", proportional_attention=True)
CODEC = Codec(hidden=128, max_symbols_per_token=16, rates=(1, 2, 3, 4, 6, 8, 12, 16), snr_db=(-5, 20))


def write_untrained(named: NamedModel, output: Path, seed: int = 0) -> Bundle:
    """Write a bundle with random weights and an untrained codec, without reference, fronts or export.

    An edge serves it with the policy "none" and, once it is exported, without torch.

    Args:
        named: what to build.
        output: folder of the bundle: a new or an empty one, or that of an earlier bundle of the name.
        seed: of the weights.

    Raises:
        InvalidRequestError: the folder cannot be written, or holds something else or another bundle.
        BundleError: the model cannot be built or split, or the split is another function than the library's own.
    """
    tower = named.plan()
    check_output(named.name, output)
    torch.manual_seed(seed)
    model = perturbed(named.build(), seed)
    bundle = describe(named, tower, output)
    check_split_classifier(model, bundle.split_layer, bundle.merging, bundle.preprocessing)
    encoder = build_encoder(bundle.codec, bundle.width)
    decoder = JsccDecoder(bundle.width, bundle.codec.hidden, bundle.codec.max_symbols_per_token)
    return write_bundle(bundle, {"backbone": model, "encoder": encoder, "decoder": decoder})


def describe(named: NamedModel, tower: ClassifyingTower, output: Path) -> Bundle:
    """The manifest of a bundle whose device runs all layers, less its files."""
    return Bundle(
        name=named.name,
        task="classify",
        model=named.spec,
        split_layer=tower.depth,
        depth=tower.depth,
        width=tower.width,
        patches=tower.patches,
        prefix_tokens=tower.prefix_tokens,
        labels=named.labels,
        preprocessing=named.preprocessing,
        merging=MERGING,
        codec=CODEC,
        files={},
        folder=output,
    )
