"""A LLaVA checkpoint as it lies on disk: where it is, and how it wants its images."""

import json
import math
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

from huggingface_hub import snapshot_download
from pydantic import PlainValidator
from transformers import AutoImageProcessor, AutoTokenizer, LlavaProcessor

from offline.bundles.vision_tower import LLAVA, plan_tower, read_config
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.images import RESAMPLING, Preprocessing
from thinwire.prompt import QUESTION, Prompt
from thinwire.records import Positive, Real, read, record

# All that is read of a repository: no code and no pickles. What says what the model is comes first.
CONFIGURATION = ["*.json", "*.model", "*.txt", "*.jinja"]
# Before an id of the Hugging Face hub, in timm's way.
HUB = "hf-hub:"
WEIGHTS = ["*.safetensors"]


def _scale(value: Any) -> Any:
    if not isinstance(value, float) or not math.isclose(value, 1 / 255, rel_tol=1e-3):
        raise ValueError("must be 1/255")
    return value


def _square(crop: Any) -> Any:
    side = crop.get("height") if isinstance(crop, dict) else None
    if type(side) is not int or side < 1 or crop.get("width") != side:
        raise ValueError("must be a square")
    return side


def _shortest_edge(size: Any) -> Any:
    side = size.get("shortest_edge") if isinstance(size, dict) else None
    if type(side) is not int or side < 1:
        raise ValueError("must be a shortest_edge")
    return side


def _interpolation(resample: Any) -> str:
    for name, value in RESAMPLING.items():
        if resample == int(value):
            return name
    raise ValueError(f"must be {' or '.join(f'{int(value)} ({name})' for name, value in RESAMPLING.items())}")


@record("image processor")
class ImageProcessor:
    """What an image processor says of itself, where it does what a bundle can state.

    Of ``crop_size`` and ``size`` the side is kept, in pixels, and of ``resample`` the name.
    """

    do_resize: Literal[True]
    do_center_crop: Literal[True]
    do_rescale: Literal[True]
    do_normalize: Literal[True]
    rescale_factor: Annotated[float, PlainValidator(_scale)]
    crop_size: Annotated[int, PlainValidator(_square)]
    size: Annotated[int, PlainValidator(_shortest_edge)]
    resample: Annotated[Literal["bilinear", "bicubic"], PlainValidator(_interpolation)]
    image_mean: tuple[Real, Real, Real]
    image_std: tuple[Positive, Positive, Positive]

    def __post_init__(self) -> None:
        if self.size < self.crop_size:
            raise InvalidRequestError(
                f"image processor.size must be a shortest_edge of at least the crop's {self.crop_size}, got {self.size}"
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
    folder = download(name, revision, CONFIGURATION)
    # The cache names each snapshot by its commit.
    return folder, folder.name


def fetch_weights(name: str, commit: str) -> None:
    """Download the weights of a checkpoint on the hub into the folder of `fetch_configuration`.

    Raises:
        BundleError: they are not to be had.
    """
    download(name, commit, WEIGHTS)


def download(name: str, revision: str | None, patterns: list[str]) -> Path:
    """The folder of what a repository on the hub holds of some files, downloaded unless the hub's cache has it.

    Raises:
        BundleError: it is not to be had.
    """
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
        raise BundleError(f"model_type: expected {LLAVA}, got {config.model_type}, nor is it a vision transformer's")
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


def preprocessing_of(folder: Path, may_squash: bool = False) -> Preprocessing:
    """How a checkpoint's image processor prepares images, in our own terms.

    Args:
        may_squash: whether one will do that makes the whole picture a square, whatever its proportions.

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
        squashed = _squashed(content) if may_squash else None
        if squashed is not None:
            return squashed
        stated = read(
            ImageProcessor,
            {one.name: content[one.name] for one in fields(ImageProcessor) if one.name in content},
            "image processor",
        )
    except InvalidRequestError as error:
        raise BundleError(f"{folder}: {error}") from None
    return Preprocessing(
        stated.crop_size, stated.crop_size / stated.size, stated.resample, stated.image_mean, stated.image_std
    )


@record("image processor")
class SquashingProcessor:
    """What an image processor says of itself that makes the whole picture a square, whatever its proportions."""

    do_resize: Literal[True]
    do_rescale: Literal[True]
    do_normalize: Literal[True]
    rescale_factor: Annotated[float, PlainValidator(_scale)]
    size: Annotated[int, PlainValidator(_square)]
    resample: Annotated[Literal["bilinear", "bicubic"], PlainValidator(_interpolation)]
    image_mean: tuple[Real, Real, Real]
    image_std: tuple[Positive, Positive, Positive]


def _squashed(content: dict[str, Any]) -> Preprocessing | None:
    size = content.get("size")
    if not isinstance(size, dict) or "height" not in size:
        return None
    names = [one.name for one in fields(SquashingProcessor)]
    stated = read(SquashingProcessor, {name: content[name] for name in names if name in content}, "image processor")
    side = stated.size
    if content.get("do_center_crop") and content.get("crop_size") is not None:
        side = min(side, _cropped(content["crop_size"]))
    return Preprocessing(side, side / stated.size, stated.resample, stated.image_mean, stated.image_std, "squash")


def _cropped(crop: Any) -> int:
    try:
        return int(_square(crop))
    except ValueError as error:
        raise InvalidRequestError(f"image processor.crop_size {error}") from None
