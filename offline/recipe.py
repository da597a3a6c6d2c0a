"""Recipes: everything that makes a bundle from data, in one JSON file."""

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from offline.recipe_checks import RECIPE, check_codec_values, check_fields, required
from offline.train_backbone import BackboneRecipe
from offline.train_codec import CodecRecipe
from thinwire.bundle import Codec, Merging, load_bundle
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.images import Preprocessing


@dataclass(frozen=True)
class SearchRecipe:
    """Trials of each search, images to compare them on, accuracy to lose at most, channels, SNRs of the curves."""

    evaluations: int
    images: int
    max_loss: float
    channels: tuple[str, ...]
    front_snrs_db: tuple[float, ...]


@dataclass(frozen=True)
class Recipe:
    """How a bundle is made; ``data`` names the training source where the caller gives none.

    The backbone is trained as ``backbone_training`` says, or is that of the bundle ``backbone``, byte for byte. A
    recipe of the second kind states neither ``model`` nor ``preprocessing``, which are that bundle's. ``export`` says
    whether the graphs for engines without torch are written.
    """

    name: str
    data: str
    model: dict[str, Any]
    split_layer: int
    preprocessing: Preprocessing
    merging: Merging
    codec: Codec
    codec_training: CodecRecipe
    search: SearchRecipe
    backbone_training: BackboneRecipe | None = None
    backbone: str | None = None
    export: bool = True


def recipe_path(name_or_path: str) -> Path:
    """Where a recipe is: a file, or one that comes with the package; it need not exist."""
    path = Path(name_or_path)
    return path if path.is_file() else Path(str(resources.files("offline"))) / "recipes" / f"{name_or_path}.json"


def read_recipe(name_or_path: str) -> dict[str, Any]:
    """The JSON object of a recipe, unchecked.

    Raises:
        InvalidRequestError: there is none.
    """
    try:
        # Editors of Windows begin UTF-8 with a mark, which JSON does not allow.
        content = json.loads(recipe_path(name_or_path).read_text(encoding="utf-8-sig"))
    # Nested too deeply, it ends in a RecursionError.
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"no readable recipe {name_or_path}: {error}") from None
    if not isinstance(content, dict):
        raise InvalidRequestError(
            f"no readable recipe {name_or_path}: expected an object, got {type(content).__name__}"
        )
    return content


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe: a file, or the name of one that comes with the package.

    Raises:
        InvalidRequestError: there is none, or a field is missing, unknown or no such value.
    """
    content = read_recipe(name_or_path)
    try:
        if ("backbone" in content) == ("backbone_training" in content):
            raise InvalidRequestError("it must either train a backbone or name the bundle that has it")
        # What the other bundle states is not stated again, and cannot be changed.
        own = ("model", "preprocessing", "backbone_training" if "backbone" not in content else "backbone")
        check_fields(content, RECIPE if "backbone" in content else required(RECIPE, own))
        check_codec_values(content["codec"])
        if "backbone" in content:
            if stated := [name for name in own[:2] if name in content]:
                raise InvalidRequestError(f"{stated[0]}: expected none beside backbone, whose it is")
            lender = load_bundle(content["backbone"])
            if lender.task != "classify":
                raise InvalidRequestError(
                    f"backbone: expected a bundle that classifies, got {lender.name} ({lender.task})"
                )
            backbone: dict[str, Any] = {"model": lender.model, "preprocessing": lender.preprocessing}
        else:
            backbone = {
                "preprocessing": preprocessing_from(content["preprocessing"]),
                "backbone_training": BackboneRecipe(**content["backbone_training"]),
            }
        content.pop("task", None)
        return Recipe(**content | backbone | stages_from(content))
    except (BundleError, InvalidRequestError) as error:
        raise InvalidRequestError(f"no readable recipe {name_or_path}: {error}") from None


def preprocessing_from(content: dict[str, Any]) -> Preprocessing:
    """The ``preprocessing`` of a recipe that was checked."""
    return Preprocessing(**content | {key: tuple(content[key]) for key in ("mean", "std")})


def stages_from(content: dict[str, Any]) -> dict[str, Any]:
    """What every recipe that was checked has: merging, codec and its training, search.

    Raises:
        InvalidRequestError: there is no such channel.
    """
    search = content["search"]
    training = content["codec_training"]
    if "channels" in training:
        training = training | {"channels": tuple(training["channels"])}
    return {
        "merging": Merging(**content["merging"]),
        "codec": Codec.from_json(content["codec"]),
        "codec_training": CodecRecipe(**training),
        "search": SearchRecipe(**search | {key: tuple(search[key]) for key in ("channels", "front_snrs_db")}),
    }
