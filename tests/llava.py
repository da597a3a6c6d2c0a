"""A tiny LLaVA with random weights, and a bundle around it, for tests that need a language model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from cloud.language.model import LanguageModel
from cloud.torch_answerer import TorchAnswerer
from offline.bundles.vision_tower import read_tower
from offline.bundles.write import write_bundle
from policies.front import Front
from policies.fronts import Fronts
from policies.policy import AccuracyAt, MeasuredPolicy, Objectives, Policy
from thinwire.bundle import FRONT, Bundle, Codec, Language, Merging, Reference, file_sha256
from thinwire.channels import Channel
from thinwire.equalise import ReceivedTokens
from thinwire.images import Preprocessing
from thinwire.nn.codec.decoder import JsccDecoder
from thinwire.nn.codec.encoders import MlpEncoder

PROMPT = "USER: <image>\n{question} ASSISTANT:"
SIZE, PATCHES, WIDTH, CONTEXT = 32, 16, 32, 160
WORDS = "USER : ASSISTANT ? what which colour shape is the a of in picture red green blue yes no circle square two"
SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def make_tokenizer() -> Any:
    """A word-level tokenizer of 26 tokens, the image's among them."""
    words = [*SPECIAL.values(), "<image>", *WORDS.split()]
    model = models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>")
    return _finished(model, pre_tokenizers.Whitespace(), None)


def make_byte_tokenizer() -> Any:
    """A tokenizer with a token for each byte, so that most characters beyond ASCII take several."""
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {word: index for index, word in enumerate([*SPECIAL.values(), "<image>", *symbols])}
    return _finished(
        models.BPE(vocabulary, [], unk_token="<unk>"),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )


def _finished(model: Any, pre_tokenizer: Any, decoder: Any) -> Any:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    if decoder is not None:
        tokenizer.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=["<image>"], **SPECIAL)


def make_llava(tokenizer: Any, seed: int = 0, **options: Any) -> Any:
    """A LLaVA whose weights are large enough that its answers differ; ``options`` are of its `LlavaConfig`."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    text = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=CONTEXT, **sizes, **ids)
    vision = CLIPVisionConfig(image_size=SIZE, patch_size=8, **sizes)
    image = tokenizer.convert_tokens_to_ids("<image>")
    known = {"image_token_index": image, "image_seq_length": PATCHES, "vision_config": vision, "text_config": text}
    config = LlavaConfig(**known | options)
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    return model


def make_language(seed: int = 0, **options: Any) -> LanguageModel:
    """A tiny LLaVA that answers questions."""
    tokenizer = make_tokenizer()
    return LanguageModel(make_llava(tokenizer, seed, **options), tokenizer, PROMPT)


def make_vqa_bundle(folder: Path = Path(), prefix_tokens: int = 0) -> Bundle:
    """A bundle of 16 patches; its checkpoint is the folder ``llava`` in it."""
    return Bundle(
        name="tiny-vqa",
        task="vqa",
        model={"tower": "clip", "config": {}, "feature_layer": -2},
        split_layer=1,
        depth=1,
        width=WIDTH,
        patches=PATCHES,
        prefix_tokens=prefix_tokens,
        labels=(),
        preprocessing=Preprocessing(SIZE, 1.0, "bicubic", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
        merging=Merging(),
        codec=Codec(hidden=32, max_symbols_per_token=8, rates=(1, 2, 4, 8), snr_db=(-5.0, 20.0)),
        files={},
        language=Language("llava", None, PROMPT),
        folder=folder,
    )


def make_answerer(seed: int = 0) -> TorchAnswerer:
    """An answerer with random weights."""
    bundle = make_vqa_bundle()
    torch.manual_seed(seed)
    return TorchAnswerer(bundle, make_language(seed), make_decoder())


def make_decoder() -> JsccDecoder:
    """A decoder whose tokens are as large as those of a vision tower."""
    decoder = JsccDecoder(WIDTH, 32, 8).eval()
    decoder.std.fill_(3.0)
    return decoder


def write_vqa_bundle(folder: Path) -> Bundle:
    """The cloud's part of a VQA bundle with random weights, in ``folder``."""
    tokenizer = make_tokenizer()
    make_llava(tokenizer).save_pretrained(folder / "llava")
    tokenizer.save_pretrained(folder / "llava")
    save_file(make_decoder().state_dict(), folder / "decoder.safetensors")
    paths = (path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): file_sha256(path) for path in paths}
    bundle = replace(make_vqa_bundle(folder), files=files)
    bundle.save()
    return bundle


def random_frames(count: int, seed: int = 0) -> list[ReceivedTokens]:
    """Frames of different token counts and rates."""
    generator = np.random.default_rng(seed)
    received = []
    for index in range(count):
        shape = (1 + (5 * index + 3) % PATCHES, int(generator.integers(1, 9)))
        symbols = (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)
        received.append(ReceivedTokens(symbols, [0.0, 0.1, 1.0][index % 3]))
    return received


def write_whole_vqa_bundle(folder: Path) -> Bundle:
    """A VQA bundle with random weights for edge and cloud, and a front of one policy."""
    tokenizer = make_tokenizer()
    model = make_llava(tokenizer)
    checkpoint = folder.with_name(f"{folder.name}-checkpoint")
    model.save_pretrained(checkpoint)
    tokenizer.save_pretrained(checkpoint)
    torch.manual_seed(0)
    tower = read_tower(checkpoint)
    bundle = replace(make_vqa_bundle(folder), model=tower.spec, reference=Reference(8, 8 * PATCHES, 0.5, 0.1, 10, 10.0))
    parts = {"backbone": tower.tower.module, "encoder": MlpEncoder(WIDTH, 32, 8), "decoder": make_decoder()}
    bundle = write_bundle(bundle, parts, checkpoint)
    measured = MeasuredPolicy(
        Policy.create([0.5], 4),
        bundle.digest,
        Channel("awgn", 10.0),
        Objectives(0.5, 0.1, 10, 0.001, 4.0 * PATCHES, 4 * PATCHES, PATCHES, 1.0, 0.0, 0.0, 0.1),
        (AccuracyAt(10.0, 0.5, 0.1, 0.0, 0.1),),
    )
    Fronts((Front(bundle.name, bundle.digest, (measured,)),)).save(bundle.path(FRONT))
    return bundle
