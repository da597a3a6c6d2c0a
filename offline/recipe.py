"""Recipes: everything that makes a bundle from data, in one JSON file."""

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

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


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe: a file, or the name of one that comes with the package.

    Raises:
        InvalidRequestError: there is none, or it does not have the fields of `Recipe`.
    """
    try:
        content = json.loads(recipe_path(name_or_path).read_text())
        if ("backbone" in content) == ("backbone_training" in content):
            raise ValueError("it must either train a backbone or name the bundle that has it")
        search = content["search"]
        backbone: dict[str, Any]
        if "backbone" in content:
            lender = load_bundle(content["backbone"])
            backbone = {"model": lender.model, "preprocessing": lender.preprocessing}
        else:
            prepared = content["preprocessing"]
            backbone = {
                "preprocessing": Preprocessing(**prepared | {key: tuple(prepared[key]) for key in ("mean", "std")}),
                "backbone_training": BackboneRecipe(**content["backbone_training"]),
            }
        return Recipe(
            **content
            | backbone
            | {
                "merging": Merging(**content["merging"]),
                "codec": Codec.from_json(content["codec"]),
                "codec_training": CodecRecipe(**content["codec_training"]),
                "search": SearchRecipe(**search | {key: tuple(search[key]) for key in ("channels", "front_snrs_db")}),
            }
        )
    except (OSError, ValueError, KeyError, TypeError, BundleError) as error:
        raise InvalidRequestError(f"no readable recipe {name_or_path}: {error}") from None
