"""How long one image takes on this device, against the unmerged reference in the same minute."""

import math
import time

import numpy as np
from numpy.typing import NDArray

from edge.torch_engine.engine import TorchEngine
from policies.policy import Policy


class PairedLatency:
    """Times policies image by image, each beside the unmerged reference, so that the machine's moods cancel out.

    Args:
        engine: the device's side, as it serves: one image at a time.
        pixels: ``n x size x size x 3``; each is timed once per policy.
        reference: the unmerged policy.
        reference_ms: its time, to which the measured ratios are applied; measured here when left out. A search states
            the same one throughout, also after it was resumed.
    """

    def __init__(
        self, engine: TorchEngine, pixels: NDArray[np.uint8], reference: Policy, reference_ms: float | None = None
    ) -> None:
        self._engine = engine
        self._pixels = pixels
        self._reference = reference
        for image in pixels[:3]:
            self._time(image, reference)
        if reference_ms is None:
            reference_ms = 1000 * float(np.median([self._time(image, reference) for image in pixels]))
        self.reference_ms = reference_ms

    def measure(self, policy: Policy) -> tuple[float, float]:
        """Milliseconds per image and their standard error: the geometric mean of the ratios, times the reference."""
        self._time(self._pixels[0], policy)
        ratios = []
        for index, image in enumerate(self._pixels):
            # Whoever runs second finds warmer caches, so they take turns.
            pair = (self._reference, policy) if index % 2 else (policy, self._reference)
            spent = {one: self._time(image, one) for one in pair}
            ratios.append(math.log(spent[policy] / spent[self._reference]))
        ms = self.reference_ms * math.exp(float(np.mean(ratios)))
        return ms, ms * float(np.std(ratios)) / math.sqrt(len(ratios))

    def _time(self, image: NDArray[np.uint8], policy: Policy) -> float:
        began = time.perf_counter()
        self._engine.encode(image, policy, 10.0)
        return time.perf_counter() - began
