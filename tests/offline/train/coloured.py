"""Images that a tiny model learns in seconds."""

import numpy as np

from offline.data.images import LabelledImages
from tests.parts import make_bundle

BUNDLE = make_bundle(class_token=False, global_pool="avg")


def coloured_images(count: int, seed: int) -> LabelledImages:
    """Seven classes, each a colour under noise."""
    generator = np.random.default_rng(seed)
    colours = np.random.default_rng(99).integers(40, 216, (7, 1, 1, 3))
    labels = generator.integers(0, 7, count)
    pixels = np.clip(colours[labels] + generator.normal(0, 20, (count, 20, 20, 3)), 0, 255).astype(np.uint8)
    return LabelledImages(tuple(f"{seed}/{i}" for i in range(count)), pixels, labels, BUNDLE.labels)
