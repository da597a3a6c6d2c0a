"""Writing a bundle that answers questions from a LLaVA and a trained JSCC pair."""

import shutil
from pathlib import Path

from offline.bundles.vision_tower import VisionTower
from offline.bundles.write import write_weights
from thinwire.bundle import Bundle, Codec, Language, Merging, file_sha256
from thinwire.images import Preprocessing
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.nn.codec.encoder import JsccEncoder

INSIDE = "llava"


def write_vqa_bundle(
    name: str,
    tower: VisionTower,
    language: Language,
    preprocessing: Preprocessing,
    merging: Merging,
    codec: Codec,
    encoder: JsccEncoder,
    decoder: JsccDecoder,
    folder: Path,
    checkpoint: Path | None = None,
) -> Bundle:
    """Write weights and manifest into ``folder``.

    Args:
        tower: what the device runs.
        language: names the checkpoint that the cloud reads.
        checkpoint: folder of the checkpoint, to be copied into the bundle; None where ``language`` names one outside.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = write_weights({"backbone": tower.tower.module, "encoder": encoder, "decoder": decoder}, folder)
    if checkpoint is not None:
        shutil.rmtree(folder / INSIDE, ignore_errors=True)
        shutil.copytree(checkpoint, folder / INSIDE)
        copied = sorted(path for path in (folder / INSIDE).rglob("*") if path.is_file())
        files |= {path.relative_to(folder).as_posix(): file_sha256(path) for path in copied}
    bundle = Bundle(
        name=name,
        task="vqa",
        model=tower.spec,
        split_layer=tower.tower.depth,
        depth=tower.tower.depth,
        width=tower.tower.width,
        patches=tower.tower.patches,
        prefix_tokens=tower.prefix_tokens,
        labels=(),
        preprocessing=preprocessing,
        merging=merging,
        codec=codec,
        files=files,
        language=language,
        folder=folder,
    )
    bundle.save()
    return bundle
