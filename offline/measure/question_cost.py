"""What one image and one question about it cost in all, on the device and in the cloud."""

import numpy as np
from numpy.typing import NDArray

from cloud.torch_answerer import TorchAnswerer
from edge.torch_engine.cost import count_edge
from edge.torch_engine.engine import TorchEngine
from offline.data.questioned import QuestionedImages
from offline.measure.evaluator import Measurement
from offline.measure.language_cost import LanguageCost, decoder_gmacs
from policies.record import Objectives


class QuestionCompute:
    """What one image and one question about it cost, in 10^9 MACs.

    Attributes:
        tower: of the vision tower alone, nothing merged.
        full: of the whole model, nothing merged.

    Args:
        engine: the device's side.
        answerer: the cloud's.
        images: whose questions are counted, by the mean of their tokens.
    """

    def __init__(self, engine: TorchEngine, answerer: TorchAnswerer, images: QuestionedImages) -> None:
        bundle, prompt = answerer.bundle, answerer.language.prompt
        lengths = {question: len(prompt.after(question)) for question in set(images.questions)}
        self._question = np.array([lengths[question] for question in images.questions])
        self._language = LanguageCost(answerer.language.model, len(prompt.before))
        self._decoder = answerer.decoder
        counts = np.full((1, bundle.split_layer + 1), bundle.patches)
        bare = count_edge(engine.tower, bundle.split_layer, bundle.merging, None, bundle.prefix_tokens)
        self.tower = float(bare.gmacs(counts, [False] * bundle.split_layer, counts[:, -1])[0])
        self.full = self.tower + float(self._cloud(np.array([bundle.patches + bundle.prefix_tokens]))[0])

    def _cloud(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        questions: NDArray[np.float64] = self._language.question_gmacs(tokens[:, None], self._question[None]).mean(1)
        return self._language.prefix_gmacs(tokens) + questions

    def expected(self, objectives: Objectives) -> float:
        """Of edge and cloud together for a policy, from what was measured of it on *select*."""
        tokens = np.array([round(objectives.tokens)])
        return objectives.edge_gmacs + float((self._cloud(tokens) + decoder_gmacs(self._decoder, tokens))[0])

    def of(self, measured: Measurement, is_sent: bool) -> dict[str, float]:
        """Means over the images, and the sum's share of the full model; nothing is decoded of what is not sent."""
        edge = float(measured.edge_gmacs.mean()) if is_sent else self.tower
        decoder = decoder_gmacs(self._decoder, measured.tokens) if is_sent else 0.0
        cloud = float((self._cloud(measured.tokens) + decoder).mean())
        return {"edge_gmacs": edge, "cloud_gmacs": cloud, "share_of_full": (edge + cloud) / self.full}
