"""A tiny speech bundle as it is shipped, without its weights, and the folders that others publish these in."""

import json
from pathlib import Path
from typing import Any

import torch

from offline.bundles.whisper_source import INSIDE, read_source, write_configuration, write_whisper
from offline.bundles.write import write_weights
from tests.ctranslate2 import make_whisper, model_bytes, variables_of
from tests.speech import make_tokenizer
from thinwire.bundle import Bundle, Codec, Merging, Speech
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.nn.codec.encoders import LevelEncoder
from thinwire.nn.towers.whisper_tower import SIZES, WhisperTower

NAME = "tiny-speech"


def publish(folder: Path, seed: int = 0, kind: str = "transformers", half: bool = True) -> Path:
    """A Whisper of 30 positions with random weights, as one of the libraries has it; of one seed, the same weights."""
    tokenizer = make_tokenizer()
    ids = tokenizer.get_vocab()
    start, end = ids["<|startoftranscript|>"], ids["<|endoftext|>"]
    special = {"decoder_start_token_id": start, "bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    model: Any = make_whisper(seed, vocab_size=len(ids), **special)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.copy_(value.half())
            # Less than half a step of float16.
            if not half:
                value.mul_(1 + 1e-5)
    folder.mkdir(parents=True)
    tokenizer.save_pretrained(folder)
    if kind == "transformers":
        model.save_pretrained(folder)
        return folder
    (folder / "model.bin").write_bytes(model_bytes(variables_of(model)))
    config = {"suppress_ids": [1, 2], "suppress_ids_begin": [3, end], "alignment_heads": [[1, 0]]}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def ship(folder: Path, source: Path) -> Bundle:
    """The whole bundle, but for the weights of its Whisper."""
    model, tokenizer = read_source(str(source))
    tower = WhisperTower.around(model)
    torch.manual_seed(1)
    codec = Codec(hidden=32, max_symbols_per_token=8, rates=(2, 4, 8), snr_db=(0.0, 20.0), encoder="level")
    parts = {"encoder": LevelEncoder(tower.width, 32, 8), "decoder": JsccDecoder(tower.width, 32, 8)}
    folder.mkdir(parents=True)
    bundle = Bundle(
        name=NAME,
        task="transcription",
        model={"tower": "whisper", "config": {name: getattr(model.config, name) for name in SIZES}},
        split_layer=tower.depth,
        depth=tower.depth,
        width=tower.width,
        patches=tower.patches,
        prefix_tokens=0,
        labels=(),
        merging=Merging(weight="size", proportional_attention=True, neighbours=3, front=True),
        codec=codec,
        speech=Speech(INSIDE, None),
        files=write_weights(parts, folder)
        | write_configuration(model, tokenizer, folder)
        | write_whisper(model, folder),
        folder=folder,
    )
    bundle.save()
    for name in ("backbone.safetensors", "whisper/model.safetensors"):
        (folder / name).unlink()
    return bundle
