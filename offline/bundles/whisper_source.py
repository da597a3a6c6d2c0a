"""A Whisper from wherever its users have it, and its weights as files whose bytes these weights alone decide."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file

from cloud.language.load import load_checkpoint
from offline.bundles.checkpoints import CONFIGURATION, WEIGHTS, download
from offline.bundles.whisper import MODEL, convert_whisper
from offline.bundles.write import write_weights
from thinwire.bundle import BACKBONE, file_sha256
from thinwire.errors import BundleError
from thinwire.nn.placement import Placement
from thinwire.nn.towers.whisper_tower import WhisperTower

# In a bundle's folder.
INSIDE = "whisper"
WHOLE = f"{INSIDE}/model.safetensors"


def read_source(source: str, revision: str | None = None) -> tuple[Any, Any]:
    """A Whisper in float32, its weights such as 16 bits hold, and its tokenizer.

    Args:
        source: a folder as faster-whisper's users have it (CTranslate2's), one of transformers, or an id on the hub.
        revision: of the repository on the hub.

    Raises:
        BundleError: it is none, or no Whisper.
    """
    # Here, since it needs what `cloud.language.load` makes importable.
    from transformers import WhisperForConditionalGeneration

    with _folder(source, revision) as folder:
        model, tokenizer = load_checkpoint(str(folder), None, Placement("float32"), WhisperForConditionalGeneration)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.copy_(value.half())
    if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
        raise BundleError(f"{source}: expected weights that float16 holds, got larger ones")
    return model, tokenizer


@contextmanager
def _folder(source: str, revision: str | None) -> Iterator[Path]:
    """Where it is as transformers has it."""
    folder = Path(source)
    if (folder / MODEL).is_file():
        with TemporaryDirectory() as temporary:
            convert_whisper(folder, Path(temporary))
            yield Path(temporary)
    elif folder.is_dir():
        yield folder
    else:
        yield download(source, revision, [*CONFIGURATION, *WEIGHTS])


def write_whisper(model: Any, folder: Path) -> dict[str, str]:
    """Write the weights of a Whisper into a bundle's folder: the encoder's by themselves, and all of them.

    Returns:
        the SHA-256 of each file, by its name.
    """
    (folder / INSIDE).mkdir(parents=True, exist_ok=True)
    files = write_weights({BACKBONE.removesuffix(".safetensors"): WhisperTower.around(model).module}, folder)
    state = model.state_dict()
    if model.config.tie_word_embeddings:
        del state["proj_out.weight"]
    save_file({name: state[name].half().contiguous() for name in sorted(state)}, folder / WHOLE, {"format": "pt"})
    (folder / WHOLE).chmod(0o644)
    return files | {WHOLE: file_sha256(folder / WHOLE)}


def write_configuration(model: Any, tokenizer: Any, folder: Path) -> dict[str, str]:
    """Write all else that transformers reads of a Whisper, as `write_whisper` writes its weights."""
    inside = folder / INSIDE
    inside.mkdir(parents=True, exist_ok=True)
    # What its weights become in memory, on a processor that computes in no half precision.
    model.config.dtype = torch.float32
    model.config.save_pretrained(inside)
    model.generation_config.save_pretrained(inside)
    tokenizer.save_pretrained(inside)
    return {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in sorted(inside.iterdir())
        if path.relative_to(folder).as_posix() != WHOLE
    }
