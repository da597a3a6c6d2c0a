"""A backend that names the strongest colour of an image, and images for it."""

import asyncio
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from thinwire import images
from thinwire.bundle import Bundle
from thinwire.errors import ThinwireError
from thinwire.kserve.models import Row
from thinwire.rest.schemas import Parameters, VqaParameters

LABELS = ("red", "green", "blue")


@dataclass
class FakeBackend:
    """Scores are the mean of each colour over 255; an answer is the strongest colour and the question."""

    bundles: list[Bundle]
    name: str = "thinwire-fake"
    has_link: bool = True
    window: int = 2
    is_ready: bool = True
    asked: list[Parameters | VqaParameters] = field(default_factory=list)
    seen: list[Any] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    pause_s: float = 0.0

    async def ready(self) -> bool:
        return self.is_ready

    @contextmanager
    def counting_failure(self) -> Iterator[None]:
        try:
            yield
        except ThinwireError as error:
            self.failures.append(error.code)
            raise

    def check(self, parameters: Parameters | VqaParameters) -> None:
        self.asked.append(parameters)

    async def classify(self, image: bytes, parameters: Parameters, deadline_s: float) -> Row:
        scores = await self._scores(image)
        order = sorted(range(3), key=lambda index: -scores[index])[: parameters.top_k]
        outputs = tuple((LABELS[index], scores[index]) for index in order)
        return Row(outputs, 10 + len(self.seen), 5, "p-1")

    async def ask(self, image: bytes, question: str, parameters: VqaParameters, deadline_s: float) -> Row:
        scores = await self._scores(image)
        return Row(((f"{LABELS[scores.index(max(scores))]}: {question}", max(scores)),), 7, 3, "none")

    async def _scores(self, image: bytes) -> list[float]:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.pause_s)
            pixels = np.asarray(images.decode(image))
        finally:
            self.under_way -= 1
        self.seen.append(pixels)
        if pixels.max() == 0:
            raise ValueError("a secret of the model")
        return [float(value) / 255 for value in pixels.mean(axis=(0, 1))]


def encode(*colour: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (6, 4), colour).save(stream, "PNG")
    return stream.getvalue()


RED, GREEN, BLUE, BLACK = encode(255, 51, 0), encode(0, 255, 51), encode(51, 0, 255), encode(0, 0, 0)
