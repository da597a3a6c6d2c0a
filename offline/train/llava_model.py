"""A small LLaVA of transformers' own classes: made from a recipe, and saved as the hub lays such checkpoints out."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from thinwire.images import RESAMPLING, Preprocessing

PROMPT = "USER: <image>\n{question} ASSISTANT:"
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
# No weight depends on it; a question may have 2,000 characters.
MOST_POSITIONS = 4096


def build_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """A word-level tokenizer, blind to case; a word that is not among ``words`` or the prompt's becomes ``<unk>``."""
    splitter = pre_tokenizers.Whitespace()
    prompt = [word for word, _ in splitter.pre_tokenize_str(PROMPT.format(question="").replace("<image>", "").lower())]
    vocabulary = [*SPECIAL, *sorted({*words, *prompt})]
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", vocabulary.index("<s>"))])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
        model_max_length=MOST_POSITIONS,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def build_llava(spec: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """A model with random weights.

    Args:
        spec: "vision" (fields of CLIPVisionConfig), "text" (of LlamaConfig) and "feature_layer".
        tokenizer: gives the vocabulary's size and the special tokens.
    """
    special = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=MOST_POSITIONS,
        tie_word_embeddings=True,
        **special,
        **spec["text"],
    )
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**spec["vision"]),
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=spec["feature_layer"],
        vision_feature_select_strategy="default",
        image_seq_length=(spec["vision"]["image_size"] // spec["vision"]["patch_size"]) ** 2,
        tie_word_embeddings=True,
        **special,
    )
    return LlavaForConditionalGeneration(config)


def patch_size(model: LlavaForConditionalGeneration) -> int:
    """Side of the tower's patches in pixels."""
    return int(model.model.vision_tower.config.patch_size)


def save_llava(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    preprocessing: Preprocessing,
    folder: Path,
) -> None:
    """Write the model, its tokenizer and its processor, to be read by ``from_pretrained``."""
    images = CLIPImageProcessor(
        size={"shortest_edge": int(preprocessing.size / preprocessing.crop)},
        crop_size={"height": preprocessing.size, "width": preprocessing.size},
        resample=int(RESAMPLING[preprocessing.interpolation]),
        image_mean=list(preprocessing.mean),
        image_std=list(preprocessing.std),
    )
    processor = LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=patch_size(model),
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    for path in folder.iterdir():
        # safetensors makes files that only their owner reads; a service runs as somebody else.
        path.chmod(0o644)
