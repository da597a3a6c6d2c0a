"""What a JSCC pair in training must preserve: not the tokens, but what the cloud says of them."""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import LlavaForConditionalGeneration

from offline.train.packing import Segments, answer_logits, pack
from thinwire.nn.backbone import VisionTransformer
from thinwire.nn.head import classify_tokens


class Teacher(Protocol):
    """A frozen model behind the channel.

    Attributes:
        width: width D of the tokens that it reads.
        prefix: class and register tokens among them.
        device: where it is.
        digest: SHA-256 of its weights, as hex.
    """

    width: int
    prefix: int
    device: torch.device
    digest: str

    def divergence(
        self,
        tokens: Tensor,
        sizes: Tensor,
        decoded: Tensor,
        weights: Tensor,
        images: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> Tensor:
        """Kullback-Leibler divergence of what it says of the decoded tokens from what it says of the true ones.

        Args:
            tokens: what was sent, ``batch x N x D``.
            sizes: patches in each, ``batch x N``.
            decoded: what came of it, ``batch x N x D``.
            weights: the decoder's estimate of each token's share of the patches, ``batch x N``.
            images: which of the training images these are.
            generator: of whatever is drawn.

        Returns:
            a scalar, the mean over the batch.
        """
        ...


class LabelTeacher:
    """The rest of a classifier; see `Teacher`.

    Args:
        model: the backbone, whose blocks from ``split_layer`` on and head are used.
        proportional_attention: of those blocks; see `thinwire.nn.head.classify_tokens`.
    """

    def __init__(self, model: VisionTransformer, split_layer: int, proportional_attention: bool) -> None:
        self.width = model.embed_dim
        self.prefix = model.num_prefix_tokens
        self.device = next(model.parameters()).device
        self.digest = weights_digest(model)
        self._model = model.eval().requires_grad_(False)
        self._split_layer = split_layer
        self._proportional_attention = proportional_attention

    def divergence(
        self,
        tokens: Tensor,
        sizes: Tensor,
        decoded: Tensor,
        weights: Tensor,
        images: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> Tensor:
        """See `Teacher`."""
        with sdpa_kernel(_backends(self.device)):
            with torch.no_grad():
                target = self._classify(tokens, sizes)
            return _divergence(self._classify(decoded, weights), target)

    def _classify(self, x: Tensor, weights: Tensor) -> Tensor:
        valid = torch.ones(x.shape[:2], dtype=torch.bool, device=self.device)
        return classify_tokens(self._model, self._split_layer, x, weights, valid, self._proportional_attention)


class AnswerTeacher:
    """A LLaVA behind its tower, asked a few questions about each image; see `Teacher`.

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
        self.width = int(model.config.vision_config.hidden_size)
        self.prefix = prefix
        self.device = model.device
        self.digest = weights_digest(model)
        self._model = model.eval().requires_grad_(False)
        self._segments = segments
        self._rows = rows
        self._questions = questions

    def divergence(
        self,
        tokens: Tensor,
        sizes: Tensor,
        decoded: Tensor,
        weights: Tensor,
        images: NDArray[np.int64],
        generator: np.random.Generator,
    ) -> Tensor:
        """See `Teacher`. The language model is not told the sizes."""
        asked = []
        for image in images.tolist():
            row = self._rows[image]
            asked.append([row[index] for index in generator.permutation(len(row))[: self._questions]])
        packed = pack(asked, self._segments)
        project, dtype = self._model.model.multi_modal_projector, self._model.dtype
        with sdpa_kernel(_backends(self.device)):
            with torch.no_grad():
                target, _ = answer_logits(self._model, project(tokens.to(dtype)), self._segments.before, packed)
            answer, _ = answer_logits(self._model, project(decoded.to(dtype)), self._segments.before, packed)
        return _divergence(answer.float(), target.float())


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over names and values of a model's state, as hex."""
    content = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        content.update(name.encode())
        content.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return content.hexdigest()


def _backends(device: torch.device) -> list[SDPBackend]:
    # On a CPU the fused backward pass takes several times as long as the plain products at these sizes.
    return [SDPBackend.MATH] + ([] if device.type == "cpu" else [SDPBackend.EFFICIENT_ATTENTION])


def _divergence(answer: Tensor, target: Tensor) -> Tensor:
    return F.kl_div(answer.log_softmax(-1), target.log_softmax(-1), reduction="batchmean", log_target=True)
