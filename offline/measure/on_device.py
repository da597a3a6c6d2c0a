"""A device that answers by itself, with the whole model, and sends its answer: its logits, or the label."""

import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from channel.models.registry import get
from channel.realisation import apply, keyed_generator
from edge.torch_engine import count_edge
from offline.measure.cloud_cost import head_macs
from offline.measure.evaluator import LINK_ID, Evaluator, Measurement, request_id_of
from offline.measure.judges import LabelJudge
from thinwire.channels import Channel
from thinwire.equalise import receive
from thinwire.nn.towers.models import classifier_of


class OnDevice:
    """Measures both, on images with labels.

    Args:
        evaluator: of these images.
        channel: what the answers are sent over.
        seed: of the keyed noise.
        scores: the plain model's logits, ``images x classes``, where they are known.
    """

    def __init__(
        self, evaluator: Evaluator, channel: Channel, seed: int, scores: NDArray[np.float32] | None = None
    ) -> None:
        if scores is not None:
            self._scores = scores
        self._evaluator = evaluator
        self._bundle = evaluator.bundle
        self._channel = channel
        self._seed = seed

    def logits(self) -> Measurement:
        """The device classifies, and sends its logits as symbols, two to a symbol."""
        centred = self._scores - self._scores.mean(axis=1, keepdims=True)
        padded = np.pad(centred, ((0, 0), (0, centred.shape[1] % 2)))
        symbols = (padded[:, 0::2] + 1j * padded[:, 1::2]).astype(np.complex64)
        symbols /= np.sqrt((np.abs(symbols) ** 2).mean(axis=1, keepdims=True))
        received = self._send(symbols)
        arrived = np.stack((received.real, received.imag), axis=2).reshape(len(received), -1)
        return self._on_device(symbols.shape[1], arrived[:, : centred.shape[1]])

    def label(self) -> Measurement:
        """The device classifies and sends the label uncoded, two bits to a QPSK symbol.

        The cloud takes the label whose symbols are nearest to what arrived.
        """
        labels = np.arange(self._scores.shape[1])
        bits = (labels[:, None] >> np.arange(2 * max(1, math.ceil(math.log2(len(labels)) / 2)))) & 1
        words = ((1 - 2 * bits[:, 0::2]) + 1j * (1 - 2 * bits[:, 1::2])).astype(np.complex64) / np.float32(np.sqrt(2))
        # All words have one energy, so that the nearest is the one of the greatest correlation.
        arrived = (self._send(words[self._scores.argmax(1)]) @ words.conj().T).real
        return self._on_device(words.shape[1], arrived)

    @property
    def _judge(self) -> LabelJudge:
        judge = self._evaluator.judge
        assert isinstance(judge, LabelJudge)
        return judge

    @cached_property
    def _scores(self) -> NDArray[np.float32]:
        return plain_logits(self._evaluator)

    def _send(self, symbols: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """What the cloud has of each image's row of symbols, equalised."""
        return np.stack([self._send_row(*row) for row in zip(symbols, self._evaluator.images.names, strict=True)])

    def _send_row(self, symbols: NDArray[np.complex64], name: str) -> NDArray[np.complex64]:
        generator = keyed_generator(self._seed, LINK_ID, request_id_of(name), 0)
        drawn = get(self._channel.model).draw((1, len(symbols)), self._channel.snr_db, generator)
        arrived = receive(apply(symbols[None], drawn), complex(np.complex64(drawn.gain)), float(drawn.noise_variance))
        row: NDArray[np.complex64] = arrived.symbols[0]
        return row

    def _on_device(self, uses: int, arrived: NDArray[np.float32]) -> Measurement:
        labels, model = self._judge.labels, self._judge.classifier.model
        tower = self._evaluator.engine.tower
        cost = count_edge(tower, tower.depth, self._bundle.merging, None)
        counts = np.full((1, tower.depth + 1), self._bundle.patches)
        gmacs = float(cost.gmacs(counts, [False] * tower.depth, counts[:, -1])[0])
        gmacs += head_macs(classifier_of(model)) / 1e9
        return Measurement(
            logits=arrived,
            right=(arrived.argmax(1) == labels).astype(np.int64),
            asked=np.ones(len(labels), dtype=np.int64),
            tokens=np.zeros(len(labels), dtype=np.int64),
            uses=np.full(len(labels), uses),
            capped=np.zeros(len(labels), dtype=np.bool_),
            edge_gmacs=np.full(len(labels), gmacs),
        )


def plain_logits(evaluator: Evaluator) -> NDArray[np.float32]:
    """The plain model's logits, ``images x classes``."""
    pixels, judge = evaluator.pixels, evaluator.judge
    assert isinstance(judge, LabelJudge)
    parts = [judge.classifier.classify_images(pixels[i : i + 128]) for i in range(0, len(pixels), 128)]
    return np.concatenate(parts)
