"""The picture of merged tokens, against a loop over its pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from deploy.token_map import BORDER, draw_groups, save, token_map
from thinwire.errors import InvalidRequestError
from thinwire.images import to_png
from thinwire.rest.explanation import ExplainBody

GRID = (3, 4)
# Groups that touch, one in two pieces, and one of a single patch.
GROUPS = [0, 0, 1, 1, 2, 0, 1, 0, 2, 2, 3, 0]


def drawn_slowly(pixels, grid, groups):
    tall, wide = pixels.shape[0] // grid[0], pixels.shape[1] // grid[1]

    def group_at(row, column):
        return groups[row // tall * grid[1] + column // wide]

    places = [(row, column) for row in range(pixels.shape[0]) for column in range(pixels.shape[1])]
    drawn = pixels.copy()
    for row, column in places:
        own = group_at(row, column)
        if own >= 0:
            of_group = [pixels[place].astype(float) for place in places if group_at(*place) == own]
            drawn[row, column] = np.rint(np.mean(of_group, axis=0))
        if (row and group_at(row - 1, column) != own) or (column and group_at(row, column - 1) != own):
            drawn[row, column] = BORDER
    return drawn


@pytest.mark.parametrize(
    "groups",
    [GROUPS, list(range(12)), [0] * 12, [-1] * 12, [-1, *GROUPS[1:]]],
    ids=["some", "all", "one", "none", "less"],
)
def test_groups_are_drawn_as_a_loop_draws_them(groups):
    pixels = np.random.default_rng(0).integers(0, 250, (9, 16, 3), dtype=np.uint8)
    expected = drawn_slowly(pixels, GRID, groups)
    found = draw_groups(pixels, GRID, groups)
    # A mean that ends in a half may be rounded either way.
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert ((found == BORDER).all(axis=2) == (expected == BORDER).all(axis=2)).all()
    if max(groups) < 0:
        assert (found == pixels).all()


def explained(grid, area, groups):
    return ExplainBody(
        grid=grid, area=area, groups=groups, sizes=[], tokens_per_layer=[], sent=[], received=None, snr_db=None
    )


def test_the_part_that_the_model_saw_is_drawn():
    # The left half is red, the right half green and blue, one above the other; the model saw the right half.
    photograph = np.zeros((40, 80, 3), np.uint8)
    photograph[:, :40, 0], photograph[:20, 40:, 1], photograph[20:, 40:, 2] = 200, 200, 200
    png = token_map(to_png(photograph), explained((2, 2), (40, 0, 80, 40), [0, 0, 1, 1]))
    drawn = np.asarray(Image.open(io.BytesIO(png)))
    assert drawn.shape == (448, 448, 3)
    colours = {tuple(colour) for colour in drawn.reshape(-1, 3).tolist()}
    assert colours == {tuple(drawn[5, 5]), tuple(drawn[-5, -5]), BORDER}
    assert drawn[5, 5].argmax() == 1
    assert drawn[-5, -5].argmax() == 2
    assert (drawn[224] == BORDER).all()
    assert (drawn == BORDER).all(axis=2).sum() == 448


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    save(b"picture", tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == b"picture"
    with pytest.raises(InvalidRequestError, match=r"cannot write .*: No such file or directory"):
        save(b"picture", tmp_path / "none" / "a.png")
