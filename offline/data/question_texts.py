"""Questions about a drawn scene, with their answers: easy-VQA's 107 texts, and harder ones about several shapes.

A text is asked of a scene only where it has one answer there: "what color is the circle?" needs exactly one circle.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from offline.data.drawings import COLOURS, KINDS, Scene, Shape

NUMBERS = ("zero", "one", "two", "three", "four")
# Of two shapes, one is left of or above the other only if their centres are this far apart, in pixels.
CLEARLY = 6.0

PRESENCE = (
    "does the image contain a {}?",
    "is a {} present?",
    "is there a {} in the image?",
    "is there a {}?",
)
ABSENCE = (
    "does the image not contain a {}?",
    "is no {} present?",
    "is there not a {} in the image?",
    "is there not a {}?",
)
COLOUR = ("what color is the {}?", "what is the color of the {}?")
SHAPE = ("what shape does the image contain?", "what shape is in the image?", "what shape is present?")
COUNT = "how many {} are there?"
# Word, axis (0 for x, 1 for y), and whether the first shape has the smaller coordinate.
SIDES = (("left of", 0, True), ("right of", 0, False), ("above", 1, True), ("below", 1, False))
EXTREMES = (("leftmost", 0, True), ("rightmost", 0, False), ("topmost", 1, True), ("bottommost", 1, False))


@dataclass(frozen=True)
class Question:
    """A question with its only right answer.

    Attributes:
        text: in lower case, with its question mark.
        answer: words with one blank between them.
        kind: "presence", "absence", "colour", "shape", "count", "relation", "position" or "list".
    """

    text: str
    answer: str
    kind: str


def easy_texts() -> dict[str, str]:
    """Every text of easy-VQA, with its kind."""
    nouns = [*KINDS, *(f"{colour} shape" for colour in COLOURS)]
    texts = {form.format(noun): "presence" for form in PRESENCE for noun in nouns}
    texts |= {form.format(noun): "absence" for form in ABSENCE for noun in nouns}
    texts |= {form.format(noun): "colour" for form in COLOUR for noun in (*KINDS, "shape")}
    texts |= dict.fromkeys(SHAPE, "shape")
    return texts | {f"what is the {colour} shape?": "shape" for colour in COLOURS}


def kind_of(text: str) -> str:
    """The kind of one of easy-VQA's questions; "other" for any other text."""
    return _EASY.get(text, "other")


_EASY = easy_texts()


def easy_questions(scene: Scene) -> list[Question]:
    """Every question of easy-VQA's that has one answer in this scene."""
    found = [*_existence([*KINDS, *(f"{colour} shape" for colour in COLOURS)], scene)]
    for noun in (*KINDS, "shape"):
        if (only := _only(noun, scene)) is not None:
            found += [Question(form.format(noun), only.colour, "colour") for form in COLOUR]
    for colour in COLOURS:
        if (only := _only(f"{colour} shape", scene)) is not None:
            found.append(Question(f"what is the {colour} shape?", only.kind, "shape"))
    if len({shape.kind for shape in scene.shapes}) == 1:
        found += [Question(text, scene.shapes[0].kind, "shape") for text in SHAPE]
    return found


def harder_questions(scene: Scene) -> list[Question]:
    """Pairs of a colour and a shape, counts, relations, positions, and the list of all shapes."""
    pairs = [f"{colour} {kind}" for colour in COLOURS for kind in KINDS]
    found = [*_existence(pairs, scene), *_counts(scene), *_relations(scene)]
    for word, axis, smaller in EXTREMES:
        order = sorted(scene.shapes, key=lambda shape, axis=axis: _centre(shape, axis), reverse=not smaller)  # type: ignore[misc]
        if len(order) == 1 or abs(_centre(order[0], axis) - _centre(order[1], axis)) >= CLEARLY:
            found.append(Question(f"what is the {word} shape?", _name(order[0]), "position"))
    order = sorted(scene.shapes, key=lambda shape: shape.x)
    if all(right.x - left.x >= CLEARLY for left, right in pairwise(order)):
        found.append(Question("what is in the image?", " and ".join(_name(shape) for shape in order), "list"))
    return found


def words() -> tuple[str, ...]:
    """Every word of every question and answer, sorted."""
    texts = [*_EASY, *(form.format(f"{colour} {kind}") for form in PRESENCE for colour in COLOURS for kind in KINDS)]
    texts += [COUNT.format(f"{kind}s") for kind in (*KINDS, "shape")] + ["what is in the image?", "yes no and"]
    texts += [word for word, _, _ in (*SIDES, *EXTREMES)] + list(NUMBERS)
    return tuple(sorted({word for text in texts for word in text.replace("?", " ?").split()}))


def _existence(nouns: list[str], scene: Scene) -> Iterator[Question]:
    for noun in nouns:
        there = any(_is(shape, noun) for shape in scene.shapes)
        yield from _about(noun, there)


@cache
def _about(noun: str, there: bool) -> tuple[Question, ...]:
    yes, no = ("yes", "no") if there else ("no", "yes")
    present = [Question(form.format(noun), yes, "presence") for form in PRESENCE]
    return (*present, *(Question(form.format(noun), no, "absence") for form in ABSENCE))


def _counts(scene: Scene) -> Iterator[Question]:
    for noun in (*KINDS, "shape", *(f"{colour} shape" for colour in COLOURS)):
        count = sum(_is(shape, noun) for shape in scene.shapes)
        yield Question(COUNT.format(f"{noun}s"), NUMBERS[count], "count")


def _relations(scene: Scene) -> Iterator[Question]:
    """Where one shape is of another, and what stands at that side where that is one shape."""
    for other in scene.shapes:
        if _only(_name(other), scene) is None:
            continue
        for word, axis, smaller in SIDES:
            distances = {shape: _centre(other, axis) - _centre(shape, axis) for shape in scene.shapes if shape != other}
            if any(abs(distance) < CLEARLY for distance in distances.values()):
                continue
            there = [shape for shape, distance in distances.items() if (distance > 0) == smaller]
            if len(there) == 1:
                yield Question(f"what is {word} the {_name(other)}?", _name(there[0]), "relation")
            for shape in distances:
                if _only(_name(shape), scene) is not None:
                    answer = "yes" if shape in there else "no"
                    yield Question(f"is the {_name(shape)} {word} the {_name(other)}?", answer, "relation")


def _is(shape: Shape, noun: str) -> bool:
    """Whether a noun names this shape: "circle", "red shape", "red circle" or "shape"."""
    *colour, kind = noun.split()
    return kind in ("shape", shape.kind) and colour in ([], [shape.colour])


def _only(noun: str, scene: Scene) -> Shape | None:
    named = [shape for shape in scene.shapes if _is(shape, noun)]
    return named[0] if len(named) == 1 else None


def _name(shape: Shape) -> str:
    return f"{shape.colour} {shape.kind}"


def _centre(shape: Shape, axis: int) -> float:
    return (shape.x, shape.y)[axis]
