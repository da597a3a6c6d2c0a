"""Drawn pictures as data sets."""

import numpy as np

from offline.data.drawings import draw
from offline.data.drawn import drawn_images, joined, scenes
from offline.data.question_texts import harder_questions
from thinwire.images import Preprocessing

SMALL = Preprocessing(16, 1.0, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_scenes_are_the_same_whatever_else_is_drawn():
    few, later = scenes(2, 5, 3, SMALL, 6), scenes(1, 6, 3, SMALL, 6)
    assert few.names == ("scenes/3/5", "scenes/3/6")
    np.testing.assert_array_equal(few.pixels[1], later.pixels[0])
    assert few.rows[1] == later.rows[0]


def test_scenes_ask_as_many_questions_of_as_many_kinds_as_they_can():
    drawn = scenes(3, 0, 0, SMALL, 8)
    assert [len(row) for row in drawn.rows] == [8, 8, 8]
    for number, row in enumerate(drawn.rows):
        drawing = draw(0, number, several=True, plain=bool(number % 2))
        assert len(drawing.scene.shapes) > 1
        kinds = {one.text: one.kind for one in harder_questions(drawing.scene)}
        asked = [kinds.get(text, "easy") for text, _ in row]
        assert {"count", "relation"} & set(asked)
        assert len(set(asked)) > 3
        assert len({text for text, _ in row}) == 8


def test_a_scene_asks_all_it_has_where_more_are_wanted():
    (row,) = scenes(1, 0, 0, SMALL, 10**6).rows
    assert len(row) < 10**4
    assert len(set(row)) == len(row)


def test_joined_sets_keep_their_questions():
    one, other = drawn_images(2, 0, 0, SMALL), scenes(2, 0, 0, SMALL, 3)
    both = joined(one, other)
    assert both.rows == one.rows + other.rows
    assert both.names == one.names + other.names
