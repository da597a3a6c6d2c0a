"""ToMe as it is compared with, and the token counts that it and ours are compared at."""

import pytest
import torch

from experiments.device.cases import reached, schedule_of
from experiments.device.timm_tome import ToMe
from tests.parts import make_engine, random_pixels
from thinwire.nn.merging.matching import top
from thinwire.nn.merging.tome import TOME
from thinwire.nn.merging.transformer import embed, rules_for, run_layers
from thinwire.nn.towers.timm_tower import TimmTower


@pytest.mark.parametrize("layer", range(3))
@pytest.mark.parametrize("r", [3, 12])
def test_it_is_its_rule_in_our_engine(layer, r):
    # At one layer: it leaves the patches in another order, and so the next layer would pair others.
    model = make_engine().tower.module
    images = torch.randn(4, 3, 20, 20)
    merged = [r if index == layer else 0 for index in range(3)]
    with torch.inference_mode():
        tower = TimmTower(model)
        tokens, _ = run_layers(tower, embed(tower, images), [top(count) if count else None for count in merged], TOME)
        expected = model.forward_head(model.norm(torch.cat((tokens.prefix, tokens.x), dim=1)))
        found = ToMe(model, merged)(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_nothing_merged_is_the_plain_model():
    model = make_engine().tower.module
    images = torch.randn(2, 3, 20, 20)
    with torch.inference_mode():
        torch.testing.assert_close(ToMe(model, [0, 0, 0])(images), model(images))


def test_schedules_merge_where_they_say_and_at_most_half():
    assert schedule_of("every", 4, 20, 2.5) == (18, 15, 12, 10)
    assert schedule_of("third", 4, 20, 30) == (10, 10, 10, 5)


def test_thresholds_reach_counts_on_average_over_images():
    engine = make_engine()
    pixels = random_pixels(6)
    thresholds = reached(engine, pixels, (20, 20, 14))
    counts = engine.transform(pixels, rules_for(thresholds)).counts.double()
    assert thresholds[1] == 1.0
    assert counts[:, 1:].mean(0).tolist() == [20, 20, 14]
    assert len(set(counts[:, -1].tolist())) > 1
