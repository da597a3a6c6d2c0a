"""What a step of the training of a small LLaVA sees: drawn pictures never seen before, and some of easy-VQA's."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from offline.data.drawings import COLOURS, KINDS, Drawing, draw
from offline.data.question_texts import Question, easy_questions, harder_questions
from offline.data.questioned import QuestionedImages
from offline.train.packing import IGNORED, Packed, Segments, pack
from thinwire.records import Count, Share, Whole, record

# Pixels of a shape from which on a patch is to know it; with fewer it may or may not.
KNOWN_FROM = 3
FEWEST_TOKENS = 4


@record("mixture")
class Mixture:
    """Of what a batch is made.

    Attributes:
        images: in a batch.
        questions: of each image, at most.
        real_share: of images that come from the data set.
        several_share: of drawn pictures that have several shapes, once ``several_after`` steps are made.
        several_after: steps over which that share grows from 0: what a colour is must be known before whose it is.
        plain_share: of drawn pictures without jitter, tilt and noise.
        subset_share: of batches whose visual tokens are a random subset.
    """

    images: Count
    questions: Count
    real_share: Share
    several_share: Share
    several_after: Whole
    plain_share: Share
    subset_share: Share


@dataclass(frozen=True)
class Batch:
    """One step's images, questions and targets.

    Attributes:
        pixels: a ``batch x height x width x 3`` array of uint8.
        packed: questions and answers.
        kinds: of each patch, 0 for the ground or 1 + index of `KINDS`, `IGNORED` where not known: a
            ``batch x patches`` tensor of int64.
        colours: of each patch, likewise for `COLOURS`.
        kept: indices of the visual tokens that the language model sees, ``batch x n`` in raster order, of int64; None
            for all.
    """

    pixels: NDArray[np.uint8]
    packed: Packed
    kinds: Tensor
    colours: Tensor
    kept: Tensor | None


def make_batch(mixture: Mixture, real: QuestionedImages, segments: Segments, patch: int, seed: int, step: int) -> Batch:
    """The batch of one step, the same whatever was made before it.

    Args:
        mixture: of what it is made.
        real: images of the data set, train split.
        segments: tokenises the questions.
        patch: side of a patch in pixels.
        seed: of the whole run.
        step: of the run, from 0.
    """
    generator = np.random.default_rng((seed, 0, step))
    several_share = mixture.several_share * min(1.0, step / max(1, mixture.several_after))
    pixels, rows, kinds, colours = [], [], [], []
    patches = (real.pixels.shape[1] // patch) ** 2
    unknown = np.full(patches, IGNORED)
    for number in range(mixture.images):
        if generator.random() < mixture.real_share:
            index = int(generator.integers(len(real)))
            pixels.append(real.pixels[index])
            mine = real.rows[index]
            chosen = generator.permutation(len(mine))[: mixture.questions]
            rows.append([mine[one] for one in chosen])
            kinds.append(unknown)
            colours.append(unknown)
            continue
        several, plain = (generator.random(2) < (several_share, mixture.plain_share)).tolist()
        drawing = draw(seed, step * mixture.images + number, several, plain)
        asked = easy_questions(drawing.scene) + harder_questions(drawing.scene)
        pixels.append(drawing.pixels)
        rows.append([(one.text, one.answer) for one in choose(asked, mixture.questions, generator)])
        of_patch = patch_labels(drawing, patch)
        kinds.append(of_patch[0])
        colours.append(of_patch[1])
    kept = None
    if generator.random() < mixture.subset_share:
        kept = random_subsets(mixture.images, patches, generator)
    return Batch(
        np.stack(pixels),
        pack(rows, segments),
        torch.from_numpy(np.stack(kinds)),
        torch.from_numpy(np.stack(colours)),
        kept,
    )


def choose(asked: Sequence[Question], count: int, generator: np.random.Generator) -> list[Question]:
    """Questions of every kind alike, and of those that are answered yes or no, as many of each answer."""
    groups: dict[tuple[str, bool], list[Question]] = {}
    for question in asked:
        groups.setdefault((question.kind, question.answer == "yes"), []).append(question)
    names = sorted(groups)
    chosen: list[Question] = []
    while len(chosen) < count:
        # All kinds come before any comes again.
        for index in generator.permutation(len(names))[: count - len(chosen)]:
            group = groups[names[index]]
            chosen.append(group[int(generator.integers(len(group)))])
    return chosen


def patch_labels(drawing: Drawing, patch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Kind and colour of the shape that covers the most of each patch, as `Batch` has them."""
    side = len(drawing.owners) // patch
    blocks = drawing.owners.reshape(side, patch, side, patch).swapaxes(1, 2).reshape(side * side, patch * patch)
    counts = np.stack([(blocks == number).sum(1) for number in range(1, len(drawing.scene.shapes) + 1)])
    owner, most = counts.argmax(0), counts.max(0)
    labels = []
    for names, attribute in ((KINDS, "kind"), (tuple(COLOURS), "colour")):
        of_shape = np.array([1 + names.index(getattr(shape, attribute)) for shape in drawing.scene.shapes])
        labels.append(np.where(most == 0, 0, np.where(most < KNOWN_FROM, IGNORED, of_shape[owner])))
    return labels[0], labels[1]


def random_subsets(batch: int, patches: int, generator: np.random.Generator) -> Tensor:
    """For each image a random subset of its patches, as many for each, the number log-uniform from `FEWEST_TOKENS`."""
    count = int(np.exp(generator.uniform(np.log(FEWEST_TOKENS), np.log(patches + 0.999))))
    chosen = np.argsort(generator.random((batch, patches)), axis=1)[:, :count]
    return torch.from_numpy(np.sort(chosen, axis=1))
