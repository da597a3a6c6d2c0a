"""Drawn pictures as a data set: any number of them, each with every question that has one answer."""

import numpy as np
from PIL import Image

from offline.drawings import draw
from offline.questions import easy_questions, harder_questions
from offline.vqa_data import QuestionedImages
from thinwire.images import Preprocessing, to_pixels


def drawn_images(count: int, first: int, seed: int, preprocessing: Preprocessing) -> QuestionedImages:
    """Draw pictures: every other one of several shapes, and of each kind every other one plain.

    Args:
        count: how many.
        first: index of the first one within the series of this seed.
        seed: of the series.
        preprocessing: brings each picture to the model's size.
    """
    pixels, questions, answers, owners = [], [], [], []
    for number in range(count):
        drawing = draw(seed, first + number, several=bool(number % 2), plain=bool(number // 2 % 2))
        asked = easy_questions(drawing.scene) + harder_questions(drawing.scene)
        pixels.append(to_pixels(Image.fromarray(drawing.pixels), preprocessing))
        questions += [one.text for one in asked]
        answers += [one.answer for one in asked]
        owners += [number] * len(asked)
    names = tuple(f"drawn/{seed}/{first + number}" for number in range(count))
    return QuestionedImages(names, np.stack(pixels), tuple(questions), tuple(answers), np.array(owners, dtype=np.int64))


def joined(one: QuestionedImages, other: QuestionedImages) -> QuestionedImages:
    """The images of both, those of ``one`` first."""
    return QuestionedImages(
        one.names + other.names,
        np.concatenate((one.pixels, other.pixels)),
        one.questions + other.questions,
        one.answers + other.answers,
        np.concatenate((one.owners, other.owners + len(one))),
    )
