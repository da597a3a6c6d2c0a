"""Tokens that keep the place of their destination."""

from types import SimpleNamespace

import torch

from experiments.rotary_positions import OWN, Placed
from thinwire.nn.merging.matching import merge
from thinwire.nn.merging.tokens import Tokens
from thinwire.nn.towers.rotary import homogeneous_grid


def test_a_token_stands_where_its_destination_stood():
    seen = []
    grid = homogeneous_grid(2, 3)
    tower = SimpleNamespace(patches=6, grid=grid, attend_at=lambda layer, x, bias, centres: seen.append(centres))
    placed = Placed(tower, 1, OWN)
    tokens = Tokens.from_embedding(torch.randn(1, 7, 4), 1)
    # Patches 1 and 5 go into 2; then, of 0, 2, 3 and 4, patch 2 goes into 3.
    for merges, target in (([True, False, True], [1, 0, 1]), ([True, False], [1, 0])):
        tokens = merge(tokens, torch.tensor([merges]), torch.tensor([target]), "size")
        placed.follow(tokens)
        placed.tower.attend_at(0, None, None, torch.ones(1, 1 + tokens.x.shape[1], 3))
    for centres, patches in zip(seen, ([0, 2, 3, 4], [0, 3, 4]), strict=True):
        assert torch.equal(centres[0, 1:], grid[patches])
        assert not centres[0, 0].any()
