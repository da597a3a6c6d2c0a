"""Recipes: everything that makes a bundle from data, in one JSON file."""

from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from channel.profiles import MAX_SNR_DB, MIN_SNR_DB
from offline.train.classifier import BackboneRecipe
from offline.train.jscc import CodecRecipe
from thinwire.bundle import Codec, Merging, load_bundle
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.images import Preprocessing
from thinwire.records import Count, JsonObject, Name, Number, Positive, Real, Text, read, read_file, record

SnrDb = Annotated[Number, Field(ge=MIN_SNR_DB, le=MAX_SNR_DB)]
Texts = Annotated[tuple[Text, ...], Field(min_length=1)]


@record("designed")
class Designed:
    """Policies that somebody thought of: one for each rate."""

    thresholds: Annotated[tuple[Real, ...], Field(min_length=1)]
    rates: Annotated[tuple[Count, ...], Field(min_length=1)]


@record("search")
class SearchRecipe:
    """Proposals, images to compare them on, accuracy to lose at most, channels, SNRs of the curves.

    The channels' searches propose in turn; what one proposes is measured on all. What was ``designed`` is measured
    beside what they find.
    """

    evaluations: Count
    images: Count
    max_loss: Positive
    channels: Texts
    front_snrs_db: Annotated[tuple[SnrDb, ...], Field(min_length=1)]
    designed: tuple[Designed, ...] = ()


@record()
class BundleRecipe:
    """What recipes of both tasks state; ``data`` names the training source where the caller gives none.

    Raises:
        InvalidRequestError: a rate of the codec stands twice, its SNRs do not rise or are none that a channel has, or
            a designed policy has another rate.
    """

    name: Name
    data: Text
    merging: Merging
    codec: Codec
    codec_training: CodecRecipe
    search: SearchRecipe

    def __post_init__(self) -> None:
        codec, (low, high) = self.codec, self.codec.snr_db
        if len(set(codec.rates)) < len(codec.rates):
            raise InvalidRequestError(f"codec.rates: expected different ones, got {list(codec.rates)}")
        if not MIN_SNR_DB <= low <= high <= MAX_SNR_DB:
            raise InvalidRequestError(
                f"codec.snr_db: expected the lower first, from {MIN_SNR_DB:g} to {MAX_SNR_DB:g}, "
                f"got {list(codec.snr_db)}"
            )
        if others := sorted({rate for one in self.search.designed for rate in one.rates} - set(codec.rates)):
            raise InvalidRequestError(f"search.designed: expected rates of {list(codec.rates)}, got {others[0]}")


@record()
class Recipe(BundleRecipe):
    """How a bundle that classifies is made.

    The backbone is trained as ``backbone_training`` says, or has the ``weights`` of a safetensors file or an id on the
    hub, or both: then training begins with them, and with a new head where theirs has other classes. Each of
    ``further_training`` begins with the weights that the run before it ended with. At the end a linear head may be
    fitted anew to ``head_images`` of the images, whole ones: training saw parts of them. Or the backbone is that of
    the bundle ``backbone``, byte for byte. A recipe of the last kind states neither ``model`` nor
    ``preprocessing``, which are that bundle's. ``export`` says whether graphs for engines without torch are written.
    """

    model: JsonObject
    # Before it, layers merge: what policies choose are their thresholds.
    split_layer: Count
    preprocessing: Preprocessing
    backbone_training: BackboneRecipe | None = None
    further_training: tuple[BackboneRecipe, ...] = ()
    head_images: Count | None = None
    weights: Text | None = None
    backbone: Text | None = None
    export: bool = True
    task: Literal["classify"] = "classify"

    @property
    def trainings(self) -> tuple[BackboneRecipe, ...]:
        """All runs that train the backbone, in turn."""
        return () if self.backbone_training is None else (self.backbone_training, *self.further_training)


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
        content = read_file(recipe_path(name_or_path))
    except (OSError, ValueError) as error:
        raise InvalidRequestError(f"no readable recipe {name_or_path}: {error}") from None
    if not isinstance(content, dict):
        raise InvalidRequestError(f"no readable recipe {name_or_path}: it is no object")
    return content


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe: a file, or the name of one that comes with the package.

    Raises:
        InvalidRequestError: there is none, or a field is missing, unknown or no such value.
    """
    content = read_recipe(name_or_path)
    try:
        if ("backbone" in content) == bool(content.keys() & {"backbone_training", "weights"}):
            raise InvalidRequestError("it must train a backbone, or name its weights or the bundle that has it")
        for name in ("further_training", "head_images"):
            if name in content and "backbone_training" not in content:
                raise InvalidRequestError(f"{name}: expected backbone_training before it")
        return read(Recipe, content | _borrowed(content))
    except (BundleError, InvalidRequestError) as error:
        raise InvalidRequestError(f"no readable recipe {name_or_path}: {error}") from None


def _borrowed(content: Mapping[str, Any]) -> dict[str, Any]:
    """What the bundle states whose backbone a recipe takes; it is not stated again, and cannot be changed."""
    if "backbone" not in content:
        return {}
    for name in ("model", "preprocessing"):
        if name in content:
            raise InvalidRequestError(f"{name}: expected none beside backbone, whose it is")
    lender = load_bundle(str(content["backbone"]))
    if lender.task != "classify":
        raise InvalidRequestError(f"backbone: expected a bundle that classifies, got {lender.name} ({lender.task})")
    return {"model": lender.model, "preprocessing": asdict(lender.preprocessing)}
