"""A writer of CTranslate2's format, and tiny Whispers with random weights, as both libraries have them."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

SPECIAL = {"<|endoftext|>": 92, "<|startoftranscript|>": 93, "<|notimestamps|>": 99}
CONFIG = {
    "vocab_size": 100,
    "num_mel_bins": 8,
    "d_model": 24,
    "encoder_layers": 3,
    "encoder_attention_heads": 3,
    "encoder_ffn_dim": 40,
    "decoder_layers": 2,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 36,
    "max_source_positions": 30,
    "max_target_positions": 12,
    "decoder_start_token_id": 93,
    "bos_token_id": 93,
    "eos_token_id": 92,
    "pad_token_id": 92,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}


def make_whisper(seed: int = 0, **changes: Any) -> Any:
    """transformers' own model of 30 positions, with weights that make tokens differ."""
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(WhisperConfig(**CONFIG | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return model


def variables_of(model: Any) -> dict[str, np.ndarray]:
    """The variables of a ``WhisperSpec`` of revision 3, in float16."""
    arrays: dict[str, np.ndarray] = {}

    def put(name: str, *tensors: torch.Tensor) -> None:
        arrays[name] = torch.cat([tensor.detach() for tensor in tensors]).numpy().astype(np.float16)

    def norm(name: str, module: Any) -> None:
        put(f"{name}/layer_norm/gamma", module.weight)
        put(f"{name}/layer_norm/beta", module.bias)

    def linear(name: str, *modules: Any) -> None:
        put(f"{name}/weight", *(module.weight for module in modules))
        # A key has no bias here, and zeros there.
        put(f"{name}/bias", *(torch.zeros(len(m.weight)) if m.bias is None else m.bias for m in modules))

    for part in ("encoder", "decoder"):
        half = getattr(model.model, part)
        put(f"{part}/position_encodings/encodings", half.embed_positions.weight)
        norm(part, half.layer_norm)
        for index, layer in enumerate(half.layers):
            name = f"{part}/layer_{index}"
            own = layer.self_attn
            norm(f"{name}/self_attention", layer.self_attn_layer_norm)
            linear(f"{name}/self_attention/linear_0", own.q_proj, own.k_proj, own.v_proj)
            linear(f"{name}/self_attention/linear_1", own.out_proj)
            if part == "decoder":
                cross = layer.encoder_attn
                norm(f"{name}/attention", layer.encoder_attn_layer_norm)
                linear(f"{name}/attention/linear_0", cross.q_proj)
                linear(f"{name}/attention/linear_1", cross.k_proj, cross.v_proj)
                linear(f"{name}/attention/linear_2", cross.out_proj)
            norm(f"{name}/ffn", layer.final_layer_norm)
            linear(f"{name}/ffn/linear_0", layer.fc1)
            linear(f"{name}/ffn/linear_1", layer.fc2)
        arrays[f"{part}/num_heads"] = np.array(half.layers[0].self_attn.num_heads, np.int16)
    linear("encoder/conv1", model.model.encoder.conv1)
    linear("encoder/conv2", model.model.encoder.conv2)
    put("decoder/embeddings/weight", model.model.decoder.embed_tokens.weight)
    flags = {"activation": 3, "alibi": 0, "pre_norm": 1, "scale_embeddings": 0, "start_from_zero_embedding": 0}
    arrays |= {f"decoder/{name}": np.array(value, np.int8) for name, value in flags.items()}
    arrays |= {"decoder/alignment_heads": np.array(1, np.int16), "decoder/alignment_layer": np.array(-1, np.int16)}
    return arrays


def model_bytes(
    arrays: dict[str, np.ndarray],
    version: int = 6,
    spec: str = "WhisperSpec",
    revision: int = 3,
    aliases: tuple[tuple[str, str], ...] = (("decoder/projection/weight", "decoder/embeddings/weight"),),
) -> bytes:
    """A ``model.bin``."""

    def text(value: str) -> bytes:
        raw = value.encode() + b"\0"
        return struct.pack("<H", len(raw)) + raw

    numbers = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}
    parts = [struct.pack("<I", version), text(spec), struct.pack("<II", revision, len(arrays))]
    for name, value in arrays.items():
        parts += [text(name), struct.pack("<B", value.ndim), struct.pack(f"<{value.ndim}I", *value.shape)]
        parts += [struct.pack("<BI", numbers[value.dtype.name], value.nbytes), value.tobytes()]
    parts += [struct.pack("<I", len(aliases)), *(text(name) for pair in aliases for name in pair)]
    return b"".join(parts)


def write_folder(folder: Path, content: bytes) -> Path:
    """A folder as faster-whisper's users have it."""
    folder.mkdir(exist_ok=True)
    (folder / "model.bin").write_bytes(content)
    added = [{"id": number, "content": name, "special": True} for name, number in SPECIAL.items()]
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0", "added_tokens": added}))
    config = {"suppress_ids": [1, 2], "suppress_ids_begin": [3, 92], "lang_ids": [94], "alignment_heads": [[1, 0]]}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
