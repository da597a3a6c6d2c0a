"""Quantised vectors as a source: which of them, and how finely, is chosen by what is right on *select*."""

import math
from collections.abc import Sequence
from functools import cache, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.digital.arithmetic import Decoder, Distribution, Encoder
from experiments.digital.features import Feature, SharedImages
from experiments.digital.quantiser import Quantiser, Vectors
from experiments.digital.source import Coded, Kept

# Finest first.
STEPS = (8, 6, 4, 3, 2, 1)


class _Choice(NamedTuple):
    feature: Feature
    steps: tuple[int, ...]


class _Coding(NamedTuple):
    """Test images under one quantiser."""

    quantiser: Quantiser
    levels: list[NDArray[np.int64]]
    lengths: NDArray[np.float64]
    answers: NDArray[np.int64]


class QuantisedSource:
    """See `experiments.digital.source.Source`.

    An option is a feature at one number of bits a component, or at all of `STEPS`: then each image takes the finest
    that fits, and says which in log2(6) bits.

    Args:
        name: of it.
        features: to choose from.
        select: what to fit and choose on.
        test: what to send.
        guess: the class that is said where nothing arrived.
        kept: for what was measured on *select*.
        most_bits: of a frame; what takes more before entropy coding is not tried.
    """

    def __init__(
        self,
        name: str,
        features: Sequence[Feature],
        select: SharedImages,
        test: SharedImages,
        guess: int,
        kept: Kept,
        most_bits: int,
    ) -> None:
        self.name = name
        self._select, self._test = select, test
        self._guessed = (select.labels == guess).astype(np.float64)
        self._choices: list[tuple[_Choice, NDArray[np.float64], NDArray[np.float64]]] = []
        self.best = cache(self._best)
        self._codings: dict[tuple[str, int], _Coding] = {}
        for feature in features:
            found = kept(f"{name}, {feature.text}: select", partial(self._measure, feature, most_bits))
            lengths = {int(step): np.array(each["lengths"]) for step, each in found.items()}
            right = {int(step): np.array(each["right"], dtype=np.float64) for step, each in found.items()}
            ladders = [(step,) for step in lengths] + ([tuple(lengths)] if len(lengths) > 1 else [])
            for steps in ladders:
                stacked = [np.stack([table[step] for step in steps]) for table in (lengths, right)]
                self._choices.append((_Choice(feature, steps), stacked[0] + math.log2(len(steps)), stacked[1]))

    def score(self, payload: int) -> float:
        """See `Source`."""
        return self.best(payload)[1]

    def option(self, payload: int) -> str:
        """See `Source`."""
        feature, steps = self.best(payload)[0]
        return (
            f"{feature.text}, {steps[0]} bits" if len(steps) == 1 else f"{feature.text}, {steps[-1]} to {steps[0]} bits"
        )

    def encode(self, payload: int) -> Coded:
        """See `Source`."""
        feature, steps = self.best(payload)[0]
        head, of_step = math.log2(len(steps)), Distribution([1] * len(steps))
        codings = [self._coding(feature, step) for step in steps]
        bits = np.zeros((len(self._test), payload), dtype=np.uint8)
        sent = np.zeros(len(self._test), dtype=np.bool_)
        answers = np.zeros(len(self._test), dtype=np.int64)
        for image in range(len(self._test)):
            fitting = [number for number, one in enumerate(codings) if one.lengths[image] + head <= payload - 1e-3]
            if not fitting:
                continue
            encoder, coding = Encoder(), codings[fitting[0]]
            if len(steps) > 1:
                encoder.put(of_step, fitting[0])
            coding.quantiser.put(encoder, coding.levels[image])
            bits[image], sent[image] = encoder.finish(payload), True
            answers[image] = coding.answers[image]
        return Coded(bits, sent, answers)

    def answers(self, payload: int, bits: NDArray[np.uint8]) -> NDArray[np.int64]:
        """See `Source`."""
        feature, steps = self.best(payload)[0]
        of_step = Distribution([1] * len(steps))
        found = np.empty(len(bits), dtype=np.int64)
        for row, frame in enumerate(bits):
            decoder = Decoder(frame)
            coding = self._coding(feature, steps[decoder.get(of_step)] if len(steps) > 1 else steps[0])
            vectors = coding.quantiser.values(coding.quantiser.get(decoder))
            found[row] = feature.answers(self._test, [vectors], coding.quantiser.distortion)[0]
        return found

    def _best(self, payload: int) -> tuple[_Choice, float]:
        """The option that is right most often within so many bits, and its accuracy."""
        found = []
        for choice, lengths, right in self._choices:
            fits = lengths <= payload - 1e-3
            first = fits.argmax(axis=0)
            images = np.arange(lengths.shape[1])
            score = np.where(fits[first, images], right[first, images], self._guessed).mean()
            found.append((float(score), -len(choice.steps), choice))
        score, _, choice = max(found, key=lambda one: one[:2])
        return choice, score

    def _measure(self, feature: Feature, most_bits: int) -> dict[int, dict[str, list[float]]]:
        """For each number of bits, what each image of *select* takes, and whether the answer is right."""
        found = {}
        for step in STEPS:
            vectors = feature.vectors(self._select, step)
            # Entropy coding takes a third off, hardly more.
            if np.median([one.size for one in vectors]) * step > 1.5 * most_bits:
                continue
            quantiser = Quantiser(vectors, step)
            coding = self._apply(feature, quantiser, self._select, vectors)
            right = (coding.answers == self._select.labels).astype(int)
            found[step] = {"lengths": np.round(coding.lengths, 3).tolist(), "right": right.tolist()}
        return found

    def _coding(self, feature: Feature, step: int) -> _Coding:
        """The test images under a quantiser; computed once."""
        key = feature.text, step
        if key not in self._codings:
            quantiser = Quantiser(feature.vectors(self._select, step), step)
            self._codings[key] = self._apply(feature, quantiser, self._test, feature.vectors(self._test, step))
        return self._codings[key]

    @staticmethod
    def _apply(feature: Feature, quantiser: Quantiser, images: SharedImages, vectors: Sequence[Vectors]) -> _Coding:
        levels = [quantiser.levels(one) for one in vectors]
        lengths = np.array([quantiser.length(one) for one in levels])
        values = [quantiser.values(one) for one in levels]
        return _Coding(quantiser, levels, lengths, feature.answers(images, values, quantiser.distortion))
