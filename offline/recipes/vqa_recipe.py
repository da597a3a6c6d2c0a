"""Recipes of bundles that answer questions."""

from dataclasses import dataclass

from offline.recipes.checks import VQA_RECIPE, check_codec_values, check_fields
from offline.recipes.recipe import SearchRecipe, read_recipe, stages_from
from offline.train.jscc import CodecRecipe
from offline.train.llava import LlavaRecipe, load_llava_recipe
from offline.train.llava_model import PROMPT
from thinwire.bundle import Codec, Merging
from thinwire.errors import InvalidRequestError
from thinwire.records import read


@dataclass(frozen=True)
class CodecPictures:
    """What the codec is trained on beside the data: pictures drawn, and questions asked of each picture in a step."""

    drawn: int
    questions: int


@dataclass(frozen=True)
class SelectPictures:
    """What policies are found on: the data's select split, and scenes of several shapes that are drawn.

    Errors on one image go together, so a few questions about each of many images tell more than all about few.

    Attributes:
        scenes: how many are drawn.
        questions: most about each image.
    """

    scenes: int
    questions: int


@dataclass(frozen=True)
class VqaRecipe:
    """How a bundle that answers questions is made.

    Attributes:
        llava: how its model is trained; None where one is given.
        prompt: see `thinwire.bundle.Language`; None for the chat template of the checkpoint that is given.
    """

    name: str
    data: str
    prompt: str | None
    llava: LlavaRecipe | None
    merging: Merging
    codec: Codec
    codec_training: CodecRecipe
    codec_pictures: CodecPictures
    select_pictures: SelectPictures
    search: SearchRecipe


def is_vqa(name_or_path: str) -> bool:
    """Whether a recipe is of a bundle that answers questions.

    Raises:
        InvalidRequestError: there is none.
    """
    return bool(read_recipe(name_or_path).get("task") == "vqa")


def load_vqa_recipe(name_or_path: str) -> VqaRecipe:
    """Read a recipe: a file, or the name of one that comes with the package.

    Raises:
        InvalidRequestError: there is none, or a field is missing, unknown or no such value.
    """
    content = read_recipe(name_or_path)
    try:
        check_fields(content, VQA_RECIPE)
        check_codec_values(content["codec"])
        trained = "llava" in content
        if trained and content.get("prompt") != PROMPT:
            raise InvalidRequestError(
                f"prompt: expected {PROMPT!r}, which models are trained with, got {content.get('prompt')!r}"
            )
        return VqaRecipe(
            name=content["name"],
            data=content["data"],
            prompt=content.get("prompt"),
            llava=load_llava_recipe(name_or_path) if trained else None,
            codec_pictures=CodecPictures(**content["codec_pictures"]),
            select_pictures=SelectPictures(**content["select_pictures"]),
            **stages_from(content),
        )
    except InvalidRequestError as error:
        raise InvalidRequestError(f"no readable recipe {name_or_path}: {error}") from None
