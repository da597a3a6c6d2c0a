"""Rotary angles between patches, read off a table of those at patches."""

import math

import pytest
import torch

from thinwire.nn.towers.rotary import homogeneous_grid, planes, rotation, turn


def table(height, width, slopes):
    """Sines and cosines of ``slopes``, each of row and column, on a grid."""
    angles = homogeneous_grid(height, width)[:, 1:].double() @ torch.tensor(slopes, dtype=torch.float64).T
    return angles.sin(), angles.cos()


def test_angles_are_right_between_patches():
    slopes = [(1.0, 0.0), (0.0, -0.7), (0.3, 2.9)]
    plane = planes(*table(5, 7, slopes), 5, 7)
    centre = torch.tensor([[[1.0, 1.5, 4.25], [0.0, 0.0, 0.0]]])
    sines, cosines = rotation(centre, plane)
    expected = [1.5 * down + 4.25 * right for down, right in slopes]
    torch.testing.assert_close(sines[0, 0, 0], torch.tensor([math.sin(one) for one in expected]), rtol=0, atol=1e-5)
    # A prefix token does not turn.
    assert torch.equal(cosines[0, 0, 1], torch.ones(3))


def test_one_row_or_column_is_enough():
    assert planes(*table(1, 6, [(0.4, 0.2)]), 1, 6)[:, 0].tolist() == pytest.approx([0, 0, 0.2], abs=1e-6)


def test_angles_that_are_not_linear_are_refused():
    angles = homogeneous_grid(5, 5)[:, 1:2].square()
    with pytest.raises(ValueError, match="expected rotary angles that are linear in row and column"):
        planes(angles.sin(), angles.cos(), 5, 5)


@pytest.mark.parametrize("half", [True, False])
def test_turning_keeps_lengths_and_products_of_equal_turns(half):
    x, y = torch.randn(2, 1, 2, 3, 8).double()
    angles = torch.randn(1, 1, 3, 4).double()
    angles = angles.repeat(1, 1, 1, 2) if half else angles.repeat_interleave(2, dim=-1)
    turned = angles.sin(), angles.cos()
    torch.testing.assert_close((turn(x, turned, half) * turn(y, turned, half)).sum(-1), (x * y).sum(-1))
