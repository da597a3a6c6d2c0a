"""The encoder's time in ONNX Runtime, one clip after the other, as it serves."""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import cycle

import numpy as np

from edge.onnx_engine import OnnxEngine
from experiments.harness.in_turn import in_turn, median, milliseconds
from experiments.harness.report import Cell, Table
from experiments.speech.ways import Way
from offline.data.utterances import Utterances
from offline.measure.evaluator import Evaluator
from thinwire.nn.towers.interface import SpeechTower

SNR_DB = 10.0


def timed(evaluator: Evaluator, ways: Mapping[str, Way], threads: int, most: int) -> Table:
    """Each way's time on each utterance, in turn, and its ratio to that of the first.

    Args:
        evaluator: of a bundle that was exported.
        ways: the first is what the others are compared with.
        threads: that compute.
        most: utterances, of those of the evaluator.

    Raises:
        BundleError: the bundle has no export.
    """
    engine, tower = OnnxEngine.load(evaluator.bundle, threads), evaluator.engine.tower
    assert isinstance(evaluator.images, Utterances)
    assert isinstance(tower, SpeechTower)
    utterances = evaluator.images.even_sample(most)
    clips = [one.audio for one in utterances.utterances]

    def part(way: Way) -> Callable[[], float]:
        features = cycle([way.features(audio, tower) for audio in clips])
        return lambda: milliseconds(partial(engine.encode, next(features), way.policy, SNR_DB))[0]

    spent = in_turn({label: part(way) for label, way in ways.items()}, len(clips))
    # The round that warms up has the first clip, and the last round, too.
    seconds = np.roll(utterances.seconds, -1)
    first = spent[next(iter(ways))]
    rows: list[dict[str, Cell]] = [
        {
            "sent": label,
            "encoder, ms": median(times),
            "of the first": median(times / first),
            "of the clip's own time": median(times / 1000 / seconds),
        }
        for label, times in spent.items()
    ]
    columns = ("encoder, ms", "of the first", "of the clip's own time")
    digits = {"of the first": 2, "of the clip's own time": 3}
    return Table(f"ONNX Runtime, one clip at a time, {threads} threads", rows, digits, columns)
