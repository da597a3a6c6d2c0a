"""Recipes of bundles that answer questions."""

import json
from dataclasses import dataclass
from pathlib import Path

from offline.recipe import SearchRecipe, recipe_path
from offline.train_codec import CodecRecipe
from offline.train_llava import LlavaRecipe, load_llava_recipe
from thinwire.bundle import Codec, Merging
from thinwire.errors import InvalidRequestError


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
        prompt: see `thinwire.bundle.Language`.
    """

    name: str
    data: str
    prompt: str
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
    try:
        return bool(json.loads(recipe_path(name_or_path).read_text()).get("task") == "vqa")
    except (OSError, ValueError, AttributeError) as error:
        raise InvalidRequestError(f"no readable recipe {name_or_path}: {error}") from None


def load_vqa_recipe(name_or_path: str) -> VqaRecipe:
    """Read a recipe: a file, or the name of one that comes with the package.

    Raises:
        InvalidRequestError: there is none, or it lacks a field.
    """
    path: Path = recipe_path(name_or_path)
    try:
        content = json.loads(path.read_text())
        search = content["search"]
        return VqaRecipe(
            name=content["name"],
            data=content["data"],
            prompt=content["prompt"],
            llava=load_llava_recipe(name_or_path) if "llava" in content else None,
            merging=Merging(**content["merging"]),
            codec=Codec.from_json(content["codec"]),
            codec_training=CodecRecipe(**content["codec_training"]),
            codec_pictures=CodecPictures(**content["codec_pictures"]),
            select_pictures=SelectPictures(**content["select_pictures"]),
            search=SearchRecipe(**search | {key: tuple(search[key]) for key in ("channels", "front_snrs_db")}),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRequestError(f"no readable recipe {name_or_path}: {error}") from None
