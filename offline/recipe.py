"""Recipes: everything that makes a bundle from data, in one JSON file."""

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from offline.train_backbone import BackboneRecipe
from offline.train_codec import CodecRecipe
from thinwire.bundle import Codec, Merging
from thinwire.errors import InvalidRequestError
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
    """How a bundle is made; ``data`` names the training source where the caller gives none."""

    name: str
    data: str
    model: dict[str, Any]
    split_layer: int
    preprocessing: Preprocessing
    merging: Merging
    codec: Codec
    backbone_training: BackboneRecipe
    codec_training: CodecRecipe
    search: SearchRecipe


def recipe_path(name_or_path: str) -> Path:
    """Where a recipe is: a file, or one that comes with the package; it need not exist."""
    path = Path(name_or_path)
    return path if path.is_file() else Path(str(resources.files("offline"))) / "recipes" / f"{name_or_path}.json"


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe: a file, or the name of one that comes with the package.

    Raises:
        InvalidRequestError: there is none, or it does not have the fields of `Recipe`.
    """
    try:
        content = json.loads(recipe_path(name_or_path).read_text())
        prepared, search = content["preprocessing"], content["search"]
        return Recipe(
            **content
            | {
                "preprocessing": Preprocessing(**prepared | {key: tuple(prepared[key]) for key in ("mean", "std")}),
                "merging": Merging(**content["merging"]),
                "codec": Codec.from_json(content["codec"]),
                "backbone_training": BackboneRecipe(**content["backbone_training"]),
                "codec_training": CodecRecipe(**content["codec_training"]),
                "search": SearchRecipe(**search | {key: tuple(search[key]) for key in ("channels", "front_snrs_db")}),
            }
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidRequestError(f"no readable recipe {name_or_path}: {error}") from None
