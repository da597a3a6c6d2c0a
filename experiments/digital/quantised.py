"""Quantised vectors as a source: which of them, and how finely, is chosen by what is right on *select*."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.digital.arithmetic import Decoder, Distribution, Encoder
from experiments.digital.features import Feature, SharedImages
from experiments.digital.quantiser import Quantiser, Vectors
from experiments.digital.source import Coded, Kept, Option, Source

# Finest first.
STEPS = (8, 6, 4, 3, 2, 1)


class _Coding(NamedTuple):
    """Test images under one quantiser."""

    quantiser: Quantiser
    levels: list[NDArray[np.int64]]
    lengths: NDArray[np.float64]
    answers: NDArray[np.int64]


class QuantisedSource(Source):
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
        self._select, self._test = select, test
        self._codings: dict[tuple[str, int], _Coding] = {}
        options: list[Option] = []
        for feature in features:
            found = kept(f"{name}, {feature.text}: select", partial(self._measure, feature, most_bits))
            ladders = [(step,) for step in found] + ([tuple(found)] if len(found) > 1 else [])
            for ladder in ladders:
                lengths, right = (
                    np.array([found[step][key] for step in ladder], dtype=np.float64) for key in ("lengths", "right")
                )
                steps = tuple(map(int, ladder))
                options.append(((feature, steps), lengths + math.log2(len(steps)), right))
        # Of those that are right as often, one of a single number of bits.
        options.sort(key=lambda option: len(option[0][1]))
        super().__init__(name, options, (select.labels == guess).astype(np.float64), spare=1e-3)

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
            fitting = [
                number for number, one in enumerate(codings) if one.lengths[image] + head <= payload - self._spare
            ]
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
