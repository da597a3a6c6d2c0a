"""Recipes of bundles that write down speech."""

from typing import Literal

from offline.recipes.recipe import BundleRecipe, read_recipe
from offline.train.heard import ClipRecipe
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.records import Text, read, record


@record()
class SpeechRecipe(BundleRecipe):
    """How a bundle that writes down speech is made.

    Attributes:
        weights: of its Whisper, where the caller names none: a folder or an id on the hub.
        clips: what the codec is trained on, out of the recordings.
        sizes_in_logits: see `thinwire.bundle.Speech`.
        begin_with: a bundle whose pair training begins with, by its name or folder; random weights where it is None.
    """

    weights: Text
    clips: ClipRecipe
    sizes_in_logits: bool
    task: Literal["transcription"] = "transcription"
    begin_with: Text | None = None


def is_speech(name_or_path: str) -> bool:
    """Whether a recipe is of a bundle that writes down speech.

    Raises:
        InvalidRequestError: there is none.
    """
    return bool(read_recipe(name_or_path).get("task") == "transcription")


def load_speech_recipe(name_or_path: str) -> SpeechRecipe:
    """Read a recipe: a file, or the name of one that comes with the package.

    Raises:
        InvalidRequestError: there is none, or a field is missing, unknown or no such value.
    """
    content = read_recipe(name_or_path)
    try:
        return read(SpeechRecipe, content)
    except (BundleError, InvalidRequestError) as error:
        raise InvalidRequestError(f"no readable recipe {name_or_path}: {error}") from None
