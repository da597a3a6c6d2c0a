"""What a JSCC pair in training must preserve: not the tokens, but what the cloud says of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import sdpa_kernel
from transformers import LlavaForConditionalGeneration

from offline.train.packing import Segments, answer_logits, pack
from offline.train.running import attention_backends, weights_digest
from thinwire.nn.head import classify_tokens
from thinwire.nn.towers.models import classifier_of


class Teacher(ABC):
    """A frozen model behind the channel.

    Args:
        model: what is asked.
        width: width D of the tokens that it reads.
        prefix: class and register tokens among them.

    Attributes:
        device: where it is.
        digest: SHA-256 of its weights, as hex.
    """

    def __init__(self, model: nn.Module, width: int, prefix: int) -> None:
        self.width = width
        self.prefix = prefix
        self.device = next(model.parameters()).device
        self.digest = weights_digest(model)
        model.eval().requires_grad_(False)

    def divergence(
        self,
        tokens: Tensor,
        sizes: Tensor,
        decoded: Tensor,
        weights: Tensor,
        valid: Tensor,
        images: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> Tensor:
        """Kullback-Leibler divergence of what it says of the decoded tokens from what it says of the true ones.

        Args:
            tokens: what was sent, ``batch x N x D``.
            sizes: patches in each, ``batch x N``.
            decoded: what came of it, ``batch x N x D``.
            weights: the decoder's estimate of each token's share of the patches, ``batch x N``.
            valid: false for padding, ``batch x N``.
            images: which of the training images or clips these are.
            generator: of whatever is drawn.

        Returns:
            a scalar, the mean over the batch.
        """
        answer = self._asking(valid, images, generator)
        with sdpa_kernel(attention_backends(self.device)):
            with torch.no_grad():
                target = answer(tokens, sizes).float().log_softmax(-1)
            said = answer(decoded, weights).float().log_softmax(-1)
        return F.kl_div(said, target, reduction="batchmean", log_target=True)

    @abstractmethod
    def _asking(
        self, valid: Tensor, images: NDArray[np.int64], generator: np.random.Generator
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """What gives logits, in rows, for tokens of these images or clips and their sizes."""


class LabelTeacher(Teacher):
    """The rest of a classifier.

    Args:
        model: the backbone, whose blocks from ``split_layer`` on and head are used.
        proportional_attention: of those blocks; see `thinwire.nn.head.classify_tokens`.
    """

    def __init__(self, model: nn.Module, split_layer: int, proportional_attention: bool) -> None:
        tower = classifier_of(model)
        super().__init__(model, tower.width, tower.prefix_tokens)
        self._model = model
        self._split_layer = split_layer
        self._proportional_attention = proportional_attention

    def _asking(
        self, valid: Tensor, images: NDArray[np.int64], generator: np.random.Generator
    ) -> Callable[[Tensor, Tensor], Tensor]:
        def classify(x: Tensor, weights: Tensor) -> Tensor:
            return classify_tokens(self._model, self._split_layer, x, weights, valid, self._proportional_attention)

        return classify


class AnswerTeacher(Teacher):
    """A LLaVA behind its tower, asked a few questions about each image; its language model is not told the sizes.

    Args:
        model: its projector and language model are used.
        segments: tokenises the questions.
        rows: for each training image, its (question, answer) pairs.
        questions: how many of them each step asks.
        prefix: class tokens that the projector is given.
    """

    def __init__(
        self,
        model: LlavaForConditionalGeneration,
        segments: Segments,
        rows: Sequence[Sequence[tuple[str, str]]],
        questions: int,
        prefix: int = 0,
    ) -> None:
        super().__init__(model, int(model.config.vision_config.hidden_size), prefix)
        self._model = model
        self._segments = segments
        self._rows = rows
        self._questions = questions

    def _asking(
        self, valid: Tensor, images: NDArray[np.int64], generator: np.random.Generator
    ) -> Callable[[Tensor, Tensor], Tensor]:
        asked = []
        for image in images.tolist():
            row = self._rows[image]
            asked.append([row[index] for index in generator.permutation(len(row))[: self._questions]])
        packed = pack(asked, self._segments)

        def answer(tokens: Tensor, weights: Tensor) -> Tensor:
            visual = self._model.model.multi_modal_projector(tokens.to(self._model.dtype))
            return answer_logits(self._model, visual, self._segments.before, packed)[0]

        return answer
