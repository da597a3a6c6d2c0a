"""Whisper's weights as users of faster-whisper have them (a CTranslate2 folder), for transformers."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from offline.bundles.ctranslate2 import read_variables
from offline.bundles.named_weights import check_tensors
from thinwire.errors import BundleError

SPEC, REVISION = "WhisperSpec", 3
MODEL, TOKENIZER, CONFIG = "model.bin", "tokenizer.json", "config.json"
# What the decoder must be for transformers' Whisper to be the same function; 3 is GELU.
FLAGS = {"activation": 3, "alibi": 0, "pre_norm": 1, "scale_embeddings": 0, "start_from_zero_embedding": 0}
# Which head says when a word was spoken; `CONFIG` has it too.
UNUSED = ("decoder/alignment_heads", "decoder/alignment_layer")
ALIASES = {"decoder/projection/weight": "decoder/embeddings/weight"}
MULTILINGUAL_VOCABULARY = 51_865
NORM = {"gamma": "weight", "beta": "bias"}


def convert_whisper(source: Path, output: Path) -> None:
    """Write a CTranslate2 folder as transformers has it: weights, configurations, tokenizer, feature extractor.

    Args:
        source: a folder with `MODEL`, `TOKENIZER` and `CONFIG`.
        output: a folder, made if need be.

    Raises:
        BundleError: as for `read_whisper`.
    """
    model = read_whisper(source)
    # Those that are stored in 16 bits are so again, without loss.
    is_half = all(bool((part == part.half()).all()) for part in model.state_dict().values())
    (model.half() if is_half else model).save_pretrained(output)
    WhisperFeatureExtractor(feature_size=model.config.num_mel_bins).save_pretrained(output)
    shutil.copyfile(source / TOKENIZER, output / TOKENIZER)
    tokenizer = {"tokenizer_class": "WhisperTokenizer", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    more = {"unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "model_max_length": 1024}
    (output / "tokenizer_config.json").write_text(json.dumps(tokenizer | more, indent=2) + "\n")


def read_whisper(source: Path) -> WhisperForConditionalGeneration:
    """The model of a CTranslate2 folder, in float32 and evaluation mode, with its generation configuration.

    Raises:
        BundleError: a file is missing or is none, holds another model, another revision, quantised weights, or not all
            of the variables of a Whisper and only those.
    """
    path = source / MODEL
    variables = read_variables(path)
    if (variables.spec, variables.revision) != (SPEC, REVISION):
        raise BundleError(
            f"{path}: expected {SPEC} of revision {REVISION}, got {variables.spec} of revision {variables.revision}"
        )
    if any(ALIASES.get(name) != of for name, of in variables.aliases.items()):
        raise BundleError(f"{path}: expected {ALIASES} as aliases, got {variables.aliases}")
    arrays = variables.arrays
    depths = {part: _depth(arrays, part) for part in ("encoder", "decoder")}
    _check_names(path, arrays, depths)
    for name, value in FLAGS.items():
        if (found := int(arrays[f"decoder/{name}"])) != value:
            raise BundleError(f"{path}: decoder/{name}: expected {value}, got {found}")
    state = _state(path, arrays, depths)
    special = _special_tokens(source / TOKENIZER)
    config = _config(path, arrays, depths, special)
    model: Any = WhisperForConditionalGeneration(config)
    # The projection to words is the embedding of words.
    expected = {name: value for name, value in model.state_dict().items() if name != "proj_out.weight"}
    check_tensors(str(path), expected, state)
    model.load_state_dict(state, strict=False)
    model.tie_weights()
    model.generation_config = _generation(source / CONFIG, config, special)
    whisper: WhisperForConditionalGeneration = model.eval()
    return whisper


def _depth(arrays: Mapping[str, Any], part: str) -> int:
    found = (re.match(rf"{part}/layer_(\d{{1,4}})/", name) for name in arrays)
    # No more than there are variables, whatever a name says.
    return min(len(arrays), max((int(match[1]) + 1 for match in found if match), default=1))


def _linears(depths: Mapping[str, int]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names of linear layers and norms there, and the one or several of transformers that are their rows."""
    for part, depth in depths.items():
        for index in range(depth):
            there, ours = f"{part}/layer_{index}", f"model.{part}.layers.{index}"
            rows = tuple(f"{ours}.self_attn.{name}_proj" for name in "qkv")
            yield f"{there}/self_attention/linear_0", rows
            yield f"{there}/self_attention/linear_1", (f"{ours}.self_attn.out_proj",)
            yield f"{there}/self_attention/layer_norm", (f"{ours}.self_attn_layer_norm",)
            if part == "decoder":
                cross = f"{ours}.encoder_attn"
                yield f"{there}/attention/linear_0", (f"{cross}.q_proj",)
                yield f"{there}/attention/linear_1", (f"{cross}.k_proj", f"{cross}.v_proj")
                yield f"{there}/attention/linear_2", (f"{cross}.out_proj",)
                yield f"{there}/attention/layer_norm", (f"{cross}_layer_norm",)
            yield f"{there}/ffn/linear_0", (f"{ours}.fc1",)
            yield f"{there}/ffn/linear_1", (f"{ours}.fc2",)
            yield f"{there}/ffn/layer_norm", (f"{ours}.final_layer_norm",)
        yield f"{part}/layer_norm", (f"model.{part}.layer_norm",)
    for name in ("conv1", "conv2"):
        yield f"encoder/{name}", (f"model.encoder.{name}",)


def _tables(depths: Mapping[str, int]) -> dict[str, str]:
    tables = {f"{part}/position_encodings/encodings": f"model.{part}.embed_positions.weight" for part in depths}
    return tables | {"decoder/embeddings/weight": "model.decoder.embed_tokens.weight"}


def _check_names(path: Path, arrays: Mapping[str, NDArray[Any]], depths: Mapping[str, int]) -> None:
    weights = [f"{there}/{kind}" for there, _ in _linears(depths) for kind in _kinds(there)] + list(_tables(depths))
    scalars = [f"{part}/num_heads" for part in depths] + [f"decoder/{name}" for name in FLAGS] + list(UNUSED)
    known = {*weights, *scalars}
    if missing := sorted(known - arrays.keys()):
        raise BundleError(f"{path}: expected {len(known)} variables, got no {missing[0]} ({len(missing)} are missing)")
    if extra := sorted(arrays.keys() - known):
        quantised = ", of a quantised model" if any(name.endswith("_scale") for name in extra) else ""
        raise BundleError(f"{path}: expected {len(known)} variables, got {extra[0]} as well{quantised}")
    for name in weights:
        if arrays[name].dtype.kind != "f":
            raise BundleError(f"{path}: {name}: expected float16 or float32, got {arrays[name].dtype.name}")
    for name in scalars:
        if name not in UNUSED and arrays[name].shape != ():
            raise BundleError(f"{path}: {name}: expected one number, got {arrays[name].shape}")


def _kinds(there: str) -> tuple[str, str]:
    return ("gamma", "beta") if there.endswith("layer_norm") else ("weight", "bias")


def _state(path: Path, arrays: Mapping[str, NDArray[Any]], depths: Mapping[str, int]) -> dict[str, Tensor]:
    state = {ours: _tensor(arrays[there]) for there, ours in _tables(depths).items()}
    for there, rows in _linears(depths):
        for kind in _kinds(there):
            whole = _tensor(arrays[f"{there}/{kind}"])
            if not whole.ndim or len(whole) % len(rows):
                raise BundleError(f"{path}: {there}/{kind}: expected rows for {len(rows)}, got {tuple(whole.shape)}")
            for ours, part in zip(rows, whole.chunk(len(rows)), strict=True):
                if ours.endswith("k_proj") and kind == "bias":
                    if bool(part.any()):
                        raise BundleError(f"{path}: {there}/{kind}: expected zeros for the keys, which have no bias")
                    continue
                state[f"{ours}.{NORM.get(kind, kind)}"] = part.clone()
    return state


def _tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(array.astype(np.float32))


def _special_tokens(path: Path) -> dict[str, int]:
    try:
        added = json.loads(path.read_text())["added_tokens"]
        special = {str(token["content"]): int(token["id"]) for token in added}
        needed = ("<|startoftranscript|>", "<|endoftext|>", "<|notimestamps|>")
        if missing := [name for name in needed if name not in special]:
            raise BundleError(f"{path}: expected {', '.join(needed)} among the added tokens, got no {missing[0]}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path}: expected Whisper's tokenizer: {type(error).__name__}: {error}") from None
    return special


def _config(
    path: Path, arrays: Mapping[str, NDArray[Any]], depths: Mapping[str, int], special: Mapping[str, int]
) -> WhisperConfig:
    def shape(name: str, rank: int) -> tuple[int, ...]:
        found = arrays[name].shape
        if len(found) != rank:
            raise BundleError(f"{path}: {name}: expected a rank of {rank}, got {found}")
        return found

    width, mel_bins, _ = shape("encoder/conv1/weight", 3)
    heads = {part: int(arrays[f"{part}/num_heads"]) for part in depths}
    if any(count < 1 or width % count for count in heads.values()):
        raise BundleError(f"{path}: num_heads: expected divisors of the width {width}, got {heads}")
    end, start = special["<|endoftext|>"], special["<|startoftranscript|>"]
    return WhisperConfig(
        vocab_size=shape("decoder/embeddings/weight", 2)[0],
        num_mel_bins=mel_bins,
        d_model=width,
        encoder_layers=depths["encoder"],
        decoder_layers=depths["decoder"],
        encoder_attention_heads=heads["encoder"],
        decoder_attention_heads=heads["decoder"],
        encoder_ffn_dim=shape("encoder/layer_0/ffn/linear_0/weight", 2)[0],
        decoder_ffn_dim=shape("decoder/layer_0/ffn/linear_0/weight", 2)[0],
        max_source_positions=shape("encoder/position_encodings/encodings", 2)[0],
        max_target_positions=shape("decoder/position_encodings/encodings", 2)[0],
        decoder_start_token_id=start,
        bos_token_id=start,
        eos_token_id=end,
        pad_token_id=end,
    )


def _generation(path: Path, config: WhisperConfig, special: Mapping[str, int]) -> GenerationConfig:
    """What transformers' own checkpoint says of decoding, from the folder's configuration."""
    try:
        stored: dict[str, Any] = json.loads(path.read_text())
        languages = set(stored.get("lang_ids", ()))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise BundleError(f"{path}: expected CTranslate2's configuration: {type(error).__name__}: {error}") from None
    fields: dict[str, Any] = {
        "alignment_heads": stored.get("alignment_heads"),
        "begin_suppress_tokens": stored.get("suppress_ids_begin"),
        "suppress_tokens": stored.get("suppress_ids"),
        "no_timestamps_token_id": special["<|notimestamps|>"],
        "max_length": config.max_target_positions,
        # OpenAI's own rule.
        "is_multilingual": config.vocab_size >= MULTILINGUAL_VOCABULARY,
        "return_timestamps": False,
    }
    for name in ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id"):
        fields[name] = getattr(config, name)
    if fields["is_multilingual"]:
        fields["lang_to_id"] = {name: number for name, number in special.items() if number in languages}
        fields["task_to_id"] = {
            task: special[f"<|{task}|>"] for task in ("transcribe", "translate") if f"<|{task}|>" in special
        }
    return GenerationConfig(**fields)
