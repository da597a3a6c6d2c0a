"""What a bundle is measured on, whatever is asked of it."""

from typing import Literal

from offline.data import images as data
from offline.data import questioned as vqa_data
from offline.data.utterances import load_utterances
from offline.measure.judges import Images, Samples
from thinwire.bundle import Bundle
from thinwire.errors import InvalidRequestError

SELECT = "select"


def load_images(bundle: Bundle, source: str, split: str, limit: int | None = None) -> Images:
    """Read labelled images, or images with questions, as the bundle's task needs them.

    Args:
        source: see `offline.data.images.load` and `offline.data.questioned.load_vqa`.
        split: "select" is the tenth of the training data that `bundle build` keeps from training; any other is the one
            of that name of a hub data set or of images with questions, and all of a tar or folder of labelled images.
        limit: a sample of at most so many, even over classes.

    Raises:
        InvalidRequestError: there is no such data, or none of it is of the select split.
        InvalidImageError: an image cannot be decoded.
        PayloadTooLargeError: there is too much of it.
    """
    # Select is a part of what was trained on.
    stored = "train" if split == SELECT else split
    if bundle.task == "classify":
        part: Literal["all", "select"] = "select" if split == SELECT else "all"
        return data.load(source, bundle.preprocessing, bundle.labels, stored, part=part, limit=limit)
    images = vqa_data.load_vqa(source, bundle.preprocessing, stored)
    chosen = vqa_data.split_select(images)[1] if split == SELECT else images
    if not len(chosen):
        raise InvalidRequestError(f"of the {len(images)} images of {source}, none is of the select split")
    return chosen.even_sample(len(chosen) if limit is None else limit)


def load_samples(bundle: Bundle, source: str, split: str, limit: int | None = None) -> Samples:
    """Read what a bundle's task needs: images as `load_images` does, or utterances.

    Args:
        source: of a bundle that hears, a tar of recordings; see `offline.data.digits.load_recordings`.
        split: "select", or any other for all of a tar of recordings.
        limit: at most so many images, or so many utterances, of which a tar makes any number.

    Raises:
        InvalidRequestError, InvalidImageError, PayloadTooLargeError: as for `load_images` and `load_utterances`.
    """
    if bundle.task == "transcription":
        return load_utterances(source, split == SELECT, limit)
    return load_images(bundle, source, split, limit)
