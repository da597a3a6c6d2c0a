"""Questions about drawn scenes: easy-VQA's own texts and answers, and harder ones that a second reading agrees with."""

import itertools
import re
from collections import Counter, defaultdict

import pytest

from offline.data.drawings import COLOURS, KINDS, Scene, Shape, draw
from offline.data.question_texts import easy_questions, easy_texts, harder_questions, kind_of, words
from offline.data.questioned import load_vqa
from thinwire.images import Preprocessing

SMALL = Preprocessing(8, 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3)
RED_CIRCLE = Shape("circle", "red", 12, 14, 10, 10)
BLUE_CIRCLE = Shape("circle", "blue", 30, 50, 12, 12)
RED_TRIANGLE = Shape("triangle", "red", 52, 16, 14, 12)


def answers(scene: Scene) -> dict[str, str]:
    return {one.text: one.answer for one in easy_questions(scene) + harder_questions(scene)}


def test_one_shape_answers_what_easy_vqa_asks():
    found = {one.text: one.answer for one in easy_questions(Scene((RED_CIRCLE,)))}
    assert found["is there not a red shape in the image?"] == "no"
    assert found["is no blue shape present?"] == "yes"
    assert found["does the image contain a circle?"] == "yes"
    assert found["what is the color of the circle?"] == "red"
    assert found["what is the red shape?"] == "circle"
    assert found["what shape is present?"] == "circle"
    assert "what color is the triangle?" not in found
    assert "what is the blue shape?" not in found


def test_several_shapes_are_asked_only_what_has_one_answer():
    found = answers(Scene((RED_CIRCLE, BLUE_CIRCLE, RED_TRIANGLE)))
    assert "what color is the circle?" not in found
    assert "what is the red shape?" not in found
    assert "what shape is present?" not in found
    assert found["what color is the triangle?"] == "red"
    assert found["what is the blue shape?"] == "circle"
    assert found["how many circles are there?"] == "two"
    assert found["how many red shapes are there?"] == "two"
    assert found["how many rectangles are there?"] == "zero"
    assert found["is there a red triangle?"] == "yes"
    assert found["is there a blue triangle?"] == "no"
    assert found["is the red circle left of the blue circle?"] == "yes"
    assert found["is the red circle below the blue circle?"] == "no"
    assert found["what is left of the blue circle?"] == "red circle"
    assert found["what is the rightmost shape?"] == "red triangle"
    assert found["what is in the image?"] == "red circle and blue circle and red triangle"
    # Their tops are two pixels apart: neither is above the other.
    assert "what is the topmost shape?" not in found
    assert "is the red circle above the red triangle?" not in found


@pytest.mark.parametrize("several", [False, True])
def test_no_text_has_two_answers_in_a_scene(several):
    for index in range(60):
        scene = draw(5, index, several).scene
        found = defaultdict(set)
        for one in easy_questions(scene) + harder_questions(scene):
            found[one.text].add(one.answer)
        assert {text for text, several_answers in found.items() if len(several_answers) > 1} == set()


def test_relations_agree_with_each_other():
    opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    seen = Counter()
    for index in range(80):
        found = answers(draw(6, index, several=True).scene)
        for text, answer in found.items():
            if match := re.fullmatch(r"is the (\w+ \w+) (left of|right of|above|below) the (\w+ \w+)\?", text):
                one, word, other = match.groups()
                mirrored = f"is the {other} {opposite[word]} the {one}?"
                turned = f"is the {one} {opposite[word]} the {other}?"
                if mirrored in found:
                    assert found[mirrored] == answer
                if turned in found:
                    assert found[turned] != answer
                seen[answer] += 1
    assert min(seen["yes"], seen["no"]) > 100


def test_the_words_cover_every_question_and_answer():
    known = set(words())
    for index, several in itertools.product(range(60), (False, True)):
        scene = draw(7, index, several).scene
        for one in easy_questions(scene) + harder_questions(scene):
            assert set(re.findall(r"\w+|\?", f"{one.text} {one.answer}")) <= known


def test_kinds_of_texts():
    assert len(easy_texts()) == 107
    assert Counter(easy_texts().values()) == {"presence": 44, "absence": 44, "colour": 8, "shape": 11}
    assert kind_of("is no teal shape present?") == "absence"
    assert kind_of("what is the teal shape?") == "shape"
    assert kind_of("what is love?") == "other"


@pytest.mark.data
def test_the_texts_and_answers_are_those_of_easy_vqa(easy_vqa):
    train = load_vqa(easy_vqa, SMALL, "train")
    assert set(train.questions) == set(easy_texts())
    scenes = [
        {one.text: one.answer for one in easy_questions(Scene((Shape(kind, colour, 30, 30, 10, 10),)))}
        for kind in KINDS
        for colour in COLOURS
    ]
    assert {answer for scene in scenes for answer in scene.values()} == set(train.answers)
    for row in train.rows:
        # Some shape and colour give all of an image's answers.
        assert any(all(scene.get(question) == answer for question, answer in row) for scene in scenes)
