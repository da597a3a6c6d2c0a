"""Drawn pictures as a data set: any number of them, each with every question that has one answer."""

from collections import Counter

import numpy as np
from PIL import Image

from offline.data.drawings import draw
from offline.data.question_texts import Question, easy_questions, harder_questions
from offline.data.questioned import QuestionedImages
from thinwire.images import Preprocessing, to_pixels

# Pictures from here on are measured on: nothing was trained on them, and no policy was found with them.
FIRST_UNSEEN = 2 * 10**9


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


def scenes(count: int, first: int, seed: int, preprocessing: Preprocessing, questions: int) -> QuestionedImages:
    """Draw scenes of two shapes or more, every other one plain, each with a few questions of as many kinds as it can.

    Args:
        count: how many.
        first: index of the first one within the series of this seed.
        seed: of the series, and of the choice of questions.
        preprocessing: brings each picture to the model's size.
        questions: about each, or all that there are.
    """
    pixels, asked = [], []
    for number in range(count):
        drawing = draw(seed, first + number, several=True, plain=bool((first + number) % 2))
        pixels.append(to_pixels(Image.fromarray(drawing.pixels), preprocessing))
        generator = np.random.default_rng((seed, first + number, questions))
        asked.append(_mixed(easy_questions(drawing.scene) + harder_questions(drawing.scene), questions, generator))
    return QuestionedImages(
        tuple(f"scenes/{seed}/{first + number}" for number in range(count)),
        np.stack(pixels),
        tuple(one.text for row in asked for one in row),
        tuple(one.answer for row in asked for one in row),
        np.repeat(np.arange(count), [len(row) for row in asked]),
    )


def _mixed(questions: list[Question], count: int, generator: np.random.Generator) -> list[Question]:
    """So many questions: one of each kind, then another of each, until there are enough."""
    order = [questions[index] for index in generator.permutation(len(questions))]
    seen: Counter[str] = Counter()
    ranked = []
    for question in order:
        ranked.append((seen[question.kind], question))
        seen[question.kind] += 1
    # Stable, so that kinds come in a random order within a rank.
    return [question for _, question in sorted(ranked, key=lambda pair: pair[0])[:count]]


def joined(one: QuestionedImages, other: QuestionedImages) -> QuestionedImages:
    """The images of both, those of ``one`` first."""
    return QuestionedImages(
        one.names + other.names,
        np.concatenate((one.pixels, other.pixels)),
        one.questions + other.questions,
        one.answers + other.answers,
        np.concatenate((one.owners, other.owners + len(one))),
    )
