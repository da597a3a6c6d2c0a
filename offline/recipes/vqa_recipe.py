"""Recipes of bundles that answer questions."""

from dataclasses import replace
from typing import Literal

from offline.recipes.recipe import Name, SearchRecipe, check_codec, read_recipe
from offline.train.jscc import CodecRecipe
from offline.train.llava import OWN, LlavaRecipe, load_llava_recipe
from offline.train.llava_model import PROMPT
from thinwire.bundle import Codec, Merging
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.records import Count, Text, Whole, read, record


@record("codec_pictures")
class CodecPictures:
    """What the codec is trained on beside the data: pictures drawn, and questions asked of each picture in a step."""

    drawn: Whole
    questions: Count


@record("select_pictures")
class SelectPictures:
    """What policies are found on: the data's select split, and scenes of several shapes that are drawn.

    Errors on one image go together, so a few questions about each of many images tell more than all about few.

    Attributes:
        scenes: how many are drawn.
        questions: most about each image.
    """

    scenes: Whole
    questions: Count


@record()
class VqaRecipe:
    """How a bundle that answers questions is made.

    Attributes:
        llava: how its model is trained; None where one is given.
        prompt: see `thinwire.bundle.Language`; None for the chat template of the checkpoint that is given.
    """

    name: Name
    data: Text
    merging: Merging
    codec: Codec
    codec_training: CodecRecipe
    codec_pictures: CodecPictures
    select_pictures: SelectPictures
    search: SearchRecipe
    prompt: Text | None = None
    llava: LlavaRecipe | None = None
    task: Literal["vqa"] = "vqa"

    def __post_init__(self) -> None:
        check_codec(self.codec)


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
        recipe = read(VqaRecipe, {name: value for name, value in content.items() if name not in OWN})
        if "llava" not in content:
            return recipe
        if recipe.prompt != PROMPT:
            raise InvalidRequestError(
                f"prompt: expected {PROMPT!r}, which models are trained with, got {recipe.prompt!r}"
            )
        return replace(recipe, llava=load_llava_recipe(name_or_path))
    except (BundleError, InvalidRequestError) as error:
        raise InvalidRequestError(f"no readable recipe {name_or_path}: {error}") from None
