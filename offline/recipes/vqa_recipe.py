"""Recipes of bundles that answer questions."""

from dataclasses import asdict, fields, replace
from typing import Literal

from offline.recipes.recipe import BundleRecipe, read_recipe
from offline.train.llava import LlavaRecipe, LlavaTraining
from offline.train.llava_model import PROMPT
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.images import Preprocessing
from thinwire.records import Count, JsonObject, Text, Whole, read, record


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
class VqaRecipe(BundleRecipe):
    """How a bundle that answers questions is made.

    Attributes:
        llava: how its model is trained; None where one is given.
        prompt: see `thinwire.bundle.Language`; None for the chat template of the checkpoint that is given.
    """

    codec_pictures: CodecPictures
    select_pictures: SelectPictures
    prompt: Text | None = None
    llava: LlavaRecipe | None = None
    task: Literal["vqa"] = "vqa"


@record()
class _LlavaShape:
    """The model of a recipe; see `offline.train.llava_model.build_llava`."""

    vision: JsonObject
    text: JsonObject
    feature_layer: int


@record()
class _LlavaForm:
    """How a `LlavaRecipe` stands in a file, among the fields of the bundle."""

    preprocessing: Preprocessing
    llava: _LlavaShape
    llava_training: LlavaTraining


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
        own = {field.name: content.pop(field.name) for field in fields(_LlavaForm) if field.name in content}
        recipe = read(VqaRecipe, content)
        if "llava" not in own:
            return recipe
        if recipe.prompt != PROMPT:
            raise InvalidRequestError(
                f"prompt: expected {PROMPT!r}, which models are trained with, got {recipe.prompt!r}"
            )
        form = read(_LlavaForm, own)
        llava = LlavaRecipe(recipe.name, asdict(form.llava), form.preprocessing, form.llava_training)
        return replace(recipe, llava=llava)
    except (BundleError, InvalidRequestError) as error:
        raise InvalidRequestError(f"no readable recipe {name_or_path}: {error}") from None
