"""Images of a tiny bundle, for sources of bits."""

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.digital.features import SharedImages
from offline.data.images import LabelledImages
from offline.measure.evaluator import Evaluator
from offline.measure.judges import LabelJudge
from tests.parts import make_classifier, make_engine, random_pixels

NO_CLASS_TOKEN = {"class_token": False, "global_pool": "avg"}


def images_of(pixels: np.ndarray, first: int = 0) -> SharedImages:
    """Images of which the tiny model is right about all but every fourth."""
    engine, classifier = make_engine(**NO_CLASS_TOKEN), make_classifier(**NO_CLASS_TOKEN)
    labels = classifier.classify_images(pixels).argmax(axis=1)
    labels[::4] = (labels[::4] + 1) % len(engine.bundle.labels)
    names = tuple(f"i/{number}" for number in range(first, first + len(pixels)))
    images = LabelledImages(names, pixels, labels.astype(np.int64), engine.bundle.labels)
    return SharedImages(Evaluator(engine.bundle, engine, LabelJudge(classifier, images), images))


def random_images(count: int, seed: int = 0) -> SharedImages:
    return images_of(random_pixels(count, seed), 1000 * seed)


def never_kept(key: str, compute: Callable[[], Any]) -> Any:
    return compute()
