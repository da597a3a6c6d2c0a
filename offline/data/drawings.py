"""Pictures that the project draws itself, as many as asked for: coloured shapes on a light ground, and what they show.

Plain pictures look like easy-VQA's: one upright shape of a pure colour. The others jitter colours, turn shapes a
little and add noise, so that a model does not hang on exact values; scenes have up to `MOST_SHAPES` shapes that do
not overlap. Picture ``index`` of a seed is the same whatever was drawn before it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIZE = 64
KINDS = ("circle", "rectangle", "triangle")
COLOURS = {
    "black": (0, 0, 0),
    "gray": (128, 128, 128),
    "red": (255, 0, 0),
    "blue": (0, 0, 255),
    "green": (0, 255, 0),
    "yellow": (255, 255, 0),
    "teal": (0, 128, 128),
    "brown": (165, 42, 42),
}
MOST_SHAPES = 4
# Sides in pixels: of the only shape, and of one among several.
SIDES = (8.0, 33.0)
SIDES_AMONG_SEVERAL = (8.0, 22.0)
# Edges are smooth because shapes are drawn this many times larger.
SUPERSAMPLING = 4
JITTER = 22.0
TILT_DEGREES = 15.0
# Of the noise of a pixel, the largest standard deviation.
MOST_NOISE = 5.0


@dataclass(frozen=True)
class Shape:
    """One shape.

    Attributes:
        kind: of `KINDS`.
        colour: of `COLOURS`.
        x: centre of its box, in pixels from the left.
        y: centre of its box, in pixels from the top.
        width: of its box before it is turned, in pixels.
        height: of its box before it is turned, in pixels.
        tilt: how far it is turned, in degrees.
    """

    kind: str
    colour: str
    x: float
    y: float
    width: float
    height: float
    tilt: float = 0.0

    def outline(self) -> list[tuple[float, float]]:
        """Corners in pixels; of a circle, its box's."""
        half = np.array([self.width, self.height]) / 2
        corners = [(0, -1), (1, 1), (-1, 1)] if self.kind == "triangle" else [(-1, -1), (1, -1), (1, 1), (-1, 1)]
        angle = 0.0 if self.kind == "circle" else np.radians(self.tilt)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        points = (np.array(corners) * half) @ turn + (self.x, self.y)
        return [(float(x), float(y)) for x, y in points]

    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of what is drawn, in pixels."""
        x, y = zip(*self.outline(), strict=True)
        return min(x), min(y), max(x), max(y)


@dataclass(frozen=True)
class Scene:
    """What a picture shows: shapes, no two of which overlap."""

    shapes: tuple[Shape, ...]


@dataclass(frozen=True)
class Drawing:
    """A picture with what it shows.

    Attributes:
        scene: the shapes.
        pixels: a ``SIZE x SIZE x 3`` array of uint8.
        owners: a ``SIZE x SIZE`` array of uint8: 0 for the ground, n for the n-th shape.
    """

    scene: Scene
    pixels: NDArray[np.uint8]
    owners: NDArray[np.uint8]


def draw(seed: int, index: int, several: bool = False, plain: bool = False) -> Drawing:
    """Draw one picture.

    Args:
        seed: of the whole series.
        index: within the series.
        several: two shapes or more, instead of one.
        plain: pure colours, nothing turned, no noise.
    """
    generator = np.random.default_rng((seed, index))
    scene = _arrange(generator, several, plain)
    return _render(scene, generator, plain)


def _arrange(generator: np.random.Generator, several: bool, plain: bool) -> Scene:
    count = int(generator.integers(2, MOST_SHAPES + 1)) if several else 1
    shapes: list[Shape] = []
    while len(shapes) < count:
        shape = _shape(generator, SIDES_AMONG_SEVERAL if several else SIDES, 0.0 if plain else TILT_DEGREES)
        # Several small shapes always find room, so this ends; what does not fit is drawn anew.
        if _inside(shape) and not any(_overlap(shape, other) for other in shapes):
            shapes.append(shape)
    return Scene(tuple(shapes))


def _shape(generator: np.random.Generator, sides: tuple[float, float], tilt: float) -> Shape:
    kind = KINDS[int(generator.integers(len(KINDS)))]
    width, other = generator.uniform(*sides, size=2)
    height = {"circle": width, "rectangle": other, "triangle": width * np.sqrt(3) / 2}[kind]
    x, y = (generator.uniform(side / 2, SIZE - side / 2) for side in (width, height))
    colour = list(COLOURS)[int(generator.integers(len(COLOURS)))]
    return Shape(kind, colour, float(x), float(y), float(width), float(height), float(generator.uniform(-tilt, tilt)))


def _inside(shape: Shape) -> bool:
    box = shape.box()
    return min(box[:2]) >= -1 and max(box[2:]) <= SIZE + 1


def _overlap(one: Shape, other: Shape) -> bool:
    a, b = one.box(), other.box()
    return a[0] < b[2] + 1 and b[0] < a[2] + 1 and a[1] < b[3] + 1 and b[1] < a[3] + 1


def _render(scene: Scene, generator: np.random.Generator, plain: bool) -> Drawing:
    ground = generator.uniform(228 if plain else 205, 255, size=3)
    owners = Image.new("L", (SIZE * SUPERSAMPLING,) * 2)
    brush = ImageDraw.Draw(owners)
    colours = [ground]
    for number, shape in enumerate(scene.shapes, 1):
        exact = np.array(COLOURS[shape.colour], dtype=float)
        colours.append(exact if plain else np.clip(exact + generator.uniform(-JITTER, JITTER, size=3), 0, 255))
        points = [(x * SUPERSAMPLING, y * SUPERSAMPLING) for x, y in shape.outline()]
        if shape.kind == "circle":
            brush.ellipse((points[0], points[2]), fill=number)
        else:
            brush.polygon(points, fill=number)
    fine = np.asarray(owners)
    pixels = np.broadcast_to(ground, (SIZE, SIZE, 3))
    for number, colour in enumerate(colours[1:], 1):
        mask = Image.fromarray(np.where(fine == number, np.uint8(255), np.uint8(0)))
        share = np.asarray(mask.resize((SIZE, SIZE), Image.Resampling.BILINEAR))[..., None] / np.float32(255)
        pixels = pixels + share * (colour - ground)
    if not plain:
        noise = generator.standard_normal(pixels.shape, dtype=np.float32)
        pixels = pixels + noise * np.float32(generator.uniform(0, MOST_NOISE))
    whose = fine[SUPERSAMPLING // 2 :: SUPERSAMPLING, SUPERSAMPLING // 2 :: SUPERSAMPLING].copy()
    return Drawing(scene, np.clip(np.rint(pixels), 0, 255).astype(np.uint8), whose)
