"""Pictures as a library prepares them, and as a bundle says."""

from dataclasses import replace

import numpy as np
import pytest

from offline.bundles.naming import name_model
from offline.bundles.tower_pictures import (
    PROCESSORS,
    by_timm,
    by_transformers,
    in_words,
    of_processor,
    other_pictures,
)
from thinwire.nn.weights import build_classifier


def test_a_picture_of_timm_is_the_same_and_another_crop_is_not():
    named = name_model("test_vit", 10, random=True)
    theirs = by_timm(build_classifier(named.spec))
    assert other_pictures(named.preprocessing, theirs) == ""
    squashed = replace(named.preprocessing, fit="squash")
    assert "of 255 levels away" in other_pictures(squashed, theirs)
    larger = replace(named.preprocessing, size=named.preprocessing.size + 16)
    assert "the library makes 3 x" in other_pictures(larger, theirs)
    assert "keeps their proportions in at most 256 patches" in other_pictures(larger, np.zeros((256, 768)))


@pytest.mark.parametrize("prefix", PROCESSORS)
def test_a_picture_of_transformers_is_the_same(tmp_path, prefix):
    preprocessing, processor = of_processor(f"{prefix}ForImageClassification", tmp_path / "processor")
    # Siglip2's keeps proportions by another number of patches.
    assert (preprocessing is None) == (prefix == "Siglip2")
    if preprocessing is not None:
        assert other_pictures(preprocessing, by_transformers(processor)) == ""


def test_a_whole_picture_may_be_cropped(tmp_path):
    preprocessing, _ = of_processor("DeiTForImageClassification", tmp_path / "processor")
    assert in_words(preprocessing) == "squash 0.875 bicubic 224"
