"""A LLaVA checkpoint as it lies on disk: where it is, and how it wants its images."""

import json
import math
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from transformers import AutoImageProcessor, AutoTokenizer, LlavaProcessor

from cloud.language.prompt import QUESTION, Prompt
from offline.recipe_checks import NUMBER, Fields, Rule, check_fields, list_of, real, whole
from offline.vision_tower import LLAVA, plan_tower, read_config
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.images import RESAMPLING, Preprocessing

# All that is read of a repository: no code and no pickles. What says what the model is comes first.
CONFIGURATION = ["*.json", "*.model", "*.txt", "*.jinja"]
WEIGHTS = ["*.safetensors"]


def _square(crop: Any) -> bool:
    return isinstance(crop, dict) and whole(1).holds(crop.get("height")) and crop.get("width") == crop["height"]


# What an image processor says of itself, where it does what a bundle can state.
PROCESSOR = Fields(
    {
        **{
            name: Rule("true", lambda value: value is True)
            for name in ("do_resize", "do_center_crop", "do_rescale", "do_normalize")
        },
        "rescale_factor": Rule(
            "1/255", lambda value: real(0).holds(value) and math.isclose(value, 1 / 255, rel_tol=1e-3)
        ),
        "crop_size": Rule("a square", _square),
        "size": Rule(
            "a shortest_edge", lambda value: isinstance(value, dict) and whole(1).holds(value.get("shortest_edge"))
        ),
        "resample": Rule(
            " or ".join(f"{int(value)} ({name})" for name, value in RESAMPLING.items()),
            lambda value: value in list(map(int, RESAMPLING.values())),
        ),
        "image_mean": list_of(NUMBER, 3),
        "image_std": list_of(real(0, above=True), 3),
    }
)


def fetch_configuration(name: str, revision: str | None = None) -> tuple[Path, str | None]:
    """The folder of a checkpoint, whose weights need not be there.

    Args:
        name: a folder, or an id on the Hugging Face hub, which is downloaded unless the hub's cache has it.
        revision: branch, tag or commit on the hub.

    Returns:
        the folder, and the commit that it is of; None for a folder given.

    Raises:
        BundleError: there is none.
    """
    if Path(name).is_dir():
        return Path(name).resolve(), None
    folder = _download(name, revision, CONFIGURATION)
    # The cache names each snapshot by its commit.
    return folder, folder.name


def fetch_weights(name: str, commit: str) -> None:
    """Download the weights of a checkpoint on the hub into the folder of `fetch_configuration`.

    Raises:
        BundleError: they are not to be had.
    """
    _download(name, commit, WEIGHTS)


def _download(name: str, revision: str | None, patterns: list[str]) -> Path:
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    # The library raises many things, which say what is wrong with the name or the network.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(f"no checkpoint {name}: neither a folder nor to be had from the hub ({reason})") from None


def check_configuration(folder: Path, prompt: str | None) -> tuple[str, Preprocessing]:
    """Check all that can be told of a LLaVA without its weights.

    Args:
        folder: of the checkpoint.
        prompt: what the model is to be asked; None for the checkpoint's own chat template.

    Returns:
        the prompt, and how images are prepared.

    Raises:
        BundleError: the checkpoint is no LLaVA, or none that can be split.
    """
    config = read_config(folder)
    if config.model_type != LLAVA:
        raise BundleError(f"model_type: expected {LLAVA}, got {config.model_type}")
    cut = plan_tower(config)
    preprocessing = preprocessing_of(folder)
    if preprocessing.size != cut.tower.image_size:
        raise BundleError(f"crop_size: expected the vision model's {cut.tower.image_size}, got {preprocessing.size}")
    stated = _processor(folder)
    for name, expected in (
        ("patch_size", config.vision_config.patch_size),
        ("vision_feature_select_strategy", config.vision_feature_select_strategy),
    ):
        if stated.get(name) not in (None, expected):
            raise BundleError(f"processor's {name}: expected the model's {expected!r}, got {stated[name]!r}")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    # transformers raises whatever a broken configuration meets.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(f"tokenizer: expected one in {folder}, got {type(error).__name__}: {reason}") from None
    prompt = prompt or _chat_prompt(folder, tokenizer)
    before = Prompt(prompt, tokenizer, config.image_token_id).before
    most = getattr(config.get_text_config(), "max_position_embeddings", None)
    tokens = len(before) + cut.tower.patches + cut.prefix_tokens
    if not isinstance(most, int) or most <= tokens:
        raise BundleError(f"max_position_embeddings: expected more than the {tokens} of prompt and image, got {most}")
    return prompt, preprocessing


def _processor(folder: Path) -> dict[str, Any]:
    path = folder / "processor_config.json"
    try:
        return dict(json.loads(path.read_text())) if path.is_file() else {}
    except (OSError, ValueError, TypeError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from None


def _chat_prompt(folder: Path, tokenizer: Any) -> str:
    """The prompt that a checkpoint's chat template makes of an image and a question, in transformers' sandbox."""
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    asked = {"add_generation_prompt": True, "tokenize": False}
    try:
        processor: Any = LlavaProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if processor.chat_template is None:
            raise ValueError("it has none")
        text: str = processor.apply_chat_template([{"role": "user", "content": content}], **asked)
    # A template may raise what it likes.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise BundleError(f"prompt: expected one in a recipe, or a chat template in {folder}: {reason}") from None
    # Tokenised, it gets one of these anyway.
    return text.removeprefix(tokenizer.bos_token or "")


def preprocessing_of(folder: Path) -> Preprocessing:
    """How a checkpoint's image processor prepares images, in our own terms.

    Raises:
        BundleError: it has none, or one that does more than to resize, crop and normalise.
    """
    try:
        processor: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
        content: dict[str, Any] = json.loads(processor.to_json_string())
    # transformers raises whatever a broken configuration meets.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(f"image processor: expected one in {folder}, got {type(error).__name__}: {reason}") from None
    try:
        check_fields({name: content[name] for name in PROCESSOR.rules if name in content}, PROCESSOR, "image processor")
    except InvalidRequestError as error:
        raise BundleError(f"{folder}: {error}") from None
    side, shortest = content["crop_size"]["height"], content["size"]["shortest_edge"]
    if shortest < side:
        raise BundleError(
            f"{folder}: image processor.size: expected a shortest_edge of at least the crop's {side}, got {shortest}"
        )
    (interpolation,) = (name for name, value in RESAMPLING.items() if int(value) == content["resample"])
    return Preprocessing(
        side, side / shortest, interpolation, tuple(content["image_mean"]), tuple(content["image_std"])
    )
