"""Drawn pictures: the same from their seed and index alone, and showing what they say."""

import numpy as np
import pytest

from offline.data.drawings import COLOURS, KINDS, MOST_SHAPES, SIZE, draw

MODES = [(several, plain) for several in (False, True) for plain in (False, True)]


@pytest.mark.parametrize(("several", "plain"), MODES)
def test_a_picture_depends_on_its_seed_and_index_alone(several, plain):
    first = draw(3, 7, several, plain)
    draw(3, 8, several, plain)
    again = draw(3, 7, several, plain)
    assert first.scene == again.scene
    assert (first.pixels == again.pixels).all()
    for other in (draw(3, 8, several, plain), draw(4, 7, several, plain)):
        assert other.scene != first.scene
        assert (other.pixels != first.pixels).any()


@pytest.mark.parametrize(("several", "plain"), MODES)
def test_shapes_are_whole_apart_and_where_the_scene_says(several, plain):
    for index in range(40):
        drawing = draw(0, index, several, plain)
        assert drawing.pixels.shape == (SIZE, SIZE, 3)
        assert drawing.pixels.dtype == np.uint8
        count = len(drawing.scene.shapes)
        assert (2 <= count <= MOST_SHAPES) if several else count == 1
        for number, shape in enumerate(drawing.scene.shapes, 1):
            rows, columns = np.nonzero(drawing.owners == number)
            share = {"circle": np.pi / 4, "rectangle": 1.0, "triangle": 0.5}[shape.kind]
            assert len(rows) == pytest.approx(share * shape.width * shape.height, rel=0.25, abs=12)
            left, top, right, bottom = shape.box()
            assert columns.min() == pytest.approx(left, abs=2)
            assert columns.max() == pytest.approx(right - 1, abs=2)
            assert rows.min() == pytest.approx(top, abs=2)
            assert rows.max() == pytest.approx(bottom - 1, abs=2)


@pytest.mark.parametrize("several", [False, True])
def test_plain_pictures_have_pure_colours_on_a_light_ground(several):
    for index in range(40):
        drawing = draw(1, index, several, plain=True)
        ground = drawing.pixels[drawing.owners == 0]
        assert np.median(ground, axis=0).min() >= 228
        for number, shape in enumerate(drawing.scene.shapes, 1):
            own = drawing.pixels[drawing.owners == number]
            # Pixels at an edge are a blend, and small shapes have little else.
            if len(own) > 100:
                assert tuple(np.median(own, axis=0)) == COLOURS[shape.colour]
            assert shape.tilt == 0


def test_jittered_pictures_stay_nearest_to_their_colours():
    names, exact = list(COLOURS), np.array(list(COLOURS.values()), dtype=float)
    for index in range(80):
        drawing = draw(1, index, several=True)
        for number, shape in enumerate(drawing.scene.shapes, 1):
            seen = np.median(drawing.pixels[drawing.owners == number].astype(float), axis=0)
            assert names[np.square(exact - seen).sum(1).argmin()] == shape.colour


def test_every_kind_and_colour_comes_about_as_often():
    shapes = [draw(2, index, plain=True).scene.shapes[0] for index in range(960)]
    for values, attribute in ((KINDS, "kind"), (COLOURS, "colour")):
        expected = len(shapes) / len(values)
        for value in values:
            count = sum(getattr(shape, attribute) == value for shape in shapes)
            assert abs(count - expected) < 5 * np.sqrt(expected)
