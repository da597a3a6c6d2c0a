"""Writing a bundle from trained parts, and measuring its unmerged reference."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from cloud.torch_classifier import TorchClassifier
from edge.torch_engine.engine import TorchEngine
from offline.measure.evaluator import Evaluator, Measurement
from offline.recipes.recipe import Recipe
from thinwire.bundle import Bundle, Reference, file_sha256
from thinwire.channels import Channel
from thinwire.nn.backbone import VisionTransformer
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.nn.codec.encoder import JsccEncoder

REFERENCE_SNR_DB = 10.0
REFERENCE_LOSS = 0.005


def write_bundle(
    recipe: Recipe,
    labels: Iterable[str],
    model: VisionTransformer,
    encoder: JsccEncoder,
    decoder: JsccDecoder,
    folder: Path,
) -> Bundle:
    """Write weights and manifest into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    files = write_weights({"backbone": model, "encoder": encoder, "decoder": decoder}, folder)
    bundle = Bundle(
        name=recipe.name,
        task="classify",
        model=recipe.model,
        split_layer=recipe.split_layer,
        depth=len(model.blocks),
        width=model.embed_dim,
        patches=model.patch_embed.num_patches,
        prefix_tokens=model.num_prefix_tokens,
        labels=tuple(labels),
        preprocessing=recipe.preprocessing,
        merging=recipe.merging,
        codec=recipe.codec,
        files=files,
        folder=folder,
    )
    bundle.save()
    return bundle


def write_weights(parts: Mapping[str, nn.Module], folder: Path) -> dict[str, str]:
    """Write each part's weights as ``NAME.safetensors``, in float16: that halves the files and costs no accuracy.

    Returns:
        the SHA-256 of each file, by its name.
    """
    files = {}
    for name, part in parts.items():
        path = folder / f"{name}.safetensors"
        save_file({key: _compact(value) for key, value in part.state_dict().items()}, path)
        # safetensors makes files that only their owner reads; a service runs as somebody else.
        path.chmod(0o644)
        files[path.name] = file_sha256(path)
    return files


def _compact(value: torch.Tensor) -> torch.Tensor:
    # Counters of batch normalisation are integers and stay so.
    return (value.half() if value.is_floating_point() else value).contiguous()


def load_pair(bundle: Bundle) -> tuple[JsccEncoder, JsccDecoder]:
    """The JSCC pair of a bundle."""
    return TorchEngine.load(bundle).encoder, TorchClassifier.load(bundle).decoder


def measure_reference(evaluator: Evaluator, seed: int) -> tuple[Reference, dict[int, Measurement]]:
    """Find the unmerged reference.

    Args:
        evaluator: over the *select* split.

    Returns:
        the reference, and what the unmerged model gives at every rate of the codec, AWGN, `REFERENCE_SNR_DB`.
    """
    bundle = evaluator.bundle
    channel = Channel("awgn", REFERENCE_SNR_DB)
    transformed = evaluator.transform([None] * bundle.split_layer)
    measured = {rate: evaluator.measure(transformed, rate, channel, seed) for rate in bundle.codec.rates}
    best = max(one.accuracy for one in measured.values())
    rate = min(rate for rate, one in measured.items() if one.accuracy >= best - REFERENCE_LOSS)
    chosen = measured[rate]
    reference = Reference(
        symbols_per_token=rate,
        channel_uses=int(chosen.uses.max()),
        accuracy=chosen.accuracy,
        accuracy_se=chosen.accuracy_se,
        n=len(chosen.right),
        snr_db=REFERENCE_SNR_DB,
    )
    return reference, measured


def with_reference(bundle: Bundle, reference: Reference) -> Bundle:
    """The bundle with its reference, saved."""
    bundle = replace(bundle, reference=reference)
    bundle.save()
    return bundle
