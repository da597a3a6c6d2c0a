"""A tiny Whisper with random weights, and the real classes of tokenizer and feature extractor."""

from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken
from tokenizers.pre_tokenizers import ByteLevel

from thinwire.nn.torchvision_ops import ensure_importable

ensure_importable()

from transformers import (  # noqa: E402
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

BASE = ("endoftext", "startoftranscript")
TASKS = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
# A second, as positions of the encoder, and as timestamps.
POSITIONS = 50


def make_tokenizer(languages: tuple[str, ...] = ()) -> WhisperTokenizer:
    """Bytes, a few words, the special tokens in OpenAI's order, timestamps up to one second."""
    vocabulary = {token: number for number, token in enumerate(sorted(ByteLevel.alphabet()))}
    merges = [("o", "n"), ("on", "e"), ("Ġ", "one"), ("t", "w"), ("tw", "o"), ("Ġ", "two"), ("-", "-"), ("Ġ", "-")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    special = [f"<|{name}|>" for name in (*BASE, *languages, *TASKS)]
    vocabulary[special[0]] = len(vocabulary)
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=merges)
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    tokenizer.add_tokens([AddedToken(f"<|{time / 50:.2f}|>", special=False) for time in range(POSITIONS + 1)])
    return tokenizer


def make_speech(languages: tuple[str, ...] = (), seed: int = 2, **changes: Any) -> tuple[Any, Any]:
    """A model of one second, in evaluation mode, and its tokenizer."""
    tokenizer = make_tokenizer(languages)
    ids = tokenizer.get_vocab()
    start, end = ids["<|startoftranscript|>"], ids["<|endoftext|>"]
    sizes = {"d_model": 32, "encoder_ffn_dim": 48, "decoder_ffn_dim": 48, "num_mel_bins": 8}
    layers = {f"{part}_{name}": 2 for part in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    lengths = {"max_source_positions": POSITIONS, "max_target_positions": 64}
    tokens = {"decoder_start_token_id": start, "bos_token_id": end, "eos_token_id": end, "pad_token_id": end}
    config = WhisperConfig(
        vocab_size=len(ids), **{**sizes, **layers, **lengths, **tokens, **changes}, tie_word_embeddings=False
    )
    torch.manual_seed(seed)
    model: Any = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        # So that what is heard decides, and ends now and then.
        for layer in model.model.decoder.layers:
            layer.encoder_attn.q_proj.weight.mul_(3)
            layer.encoder_attn.out_proj.weight.mul_(4)
        model.proj_out.weight[end] *= 1.5
        # Bytes that are no character alone are not said.
        model.proj_out.weight[[ids[token] for token in ByteLevel.alphabet() if ord(token) > 126]] = 0
    generation = model.generation_config
    generation.suppress_tokens = generation.begin_suppress_tokens = None
    generation.max_length = 64
    generation.no_timestamps_token_id = ids["<|notimestamps|>"]
    generation.is_multilingual = bool(languages)
    generation.return_timestamps = False
    if languages:
        generation.lang_to_id = {f"<|{name}|>": ids[f"<|{name}|>"] for name in languages}
        generation.task_to_id = {name: ids[f"<|{name}|>"] for name in ("transcribe", "translate")}
    return model, tokenizer


def make_features(count: int, seed: int = 0) -> torch.Tensor:
    """``count x 8 x 100`` log-mel features of noise that comes and goes."""
    extractor = WhisperFeatureExtractor(feature_size=8, chunk_length=1)
    random = np.random.default_rng(seed)
    waves = [random.normal(size=16_000) * np.sin(np.linspace(0, random.uniform(3, 20), 16_000)) for _ in range(count)]
    features: torch.Tensor = extractor(waves, sampling_rate=16_000, return_tensors="pt").input_features
    return features
