"""Rules at equal numbers of tokens, and keys compared as they are."""

import torch

from experiments.merging_rules import equal_thresholds, keys_as_values
from tests.parts import make_engine, random_pixels
from thinwire.nn.merging.transformer import rules_for


def test_thresholds_merge_the_number_that_was_asked_for_on_average():
    engine, pixels = make_engine(), random_pixels(6)
    thresholds = equal_thresholds(engine, pixels, 3)
    counts = engine.transform(pixels, rules_for(thresholds)).counts
    assert (counts[:, :-1] - counts[:, 1:]).sum(0).tolist() == [18] * engine.bundle.split_layer
    # By a threshold: not the same number of every image.
    assert len(set(counts[:, -1].tolist())) > 1


def test_more_than_there_are_merges_all():
    engine, pixels = make_engine(), random_pixels(2)
    counts = engine.transform(pixels, rules_for(equal_thresholds(engine, pixels, 99))).counts
    patches = engine.bundle.patches
    assert counts[:, 1].tolist() == [(patches + 1) // 2] * 2


def test_keys_stand_where_values_did():
    tower = make_engine().tower
    x = torch.randn(1, 1 + tower.patches, tower.width)
    plain, changed = tower.attend(0, x, None), keys_as_values(tower).attend(0, x, None)
    assert torch.equal(changed.values, plain.keys)
    assert torch.equal(changed.output, plain.output)
    assert not torch.equal(tower.attend(0, x, None).values, plain.keys)
