"""What a JSCC pair in training must preserve of speech: what the decoder writes next, all through a transcript."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cloud.speech.memory import Memory
from offline.train.teachers import Teacher

# Of a batch's transcripts, in one step.
MOST_PLACES = 64


class TranscriptTeacher(Teacher):
    """A Whisper's decoder, which is told the transcripts that it wrote itself of what was sent.

    Args:
        model: a ``WhisperForConditionalGeneration``.
        texts: for each training clip, the ids of its transcript.
        begin: ids that each begins with.
        end: the id that ends each.
        counts_sizes: whether a token counts as often as it has positions; see `thinwire.bundle.Speech`.
    """

    def __init__(
        self, model: Any, texts: Sequence[Sequence[int]], begin: Sequence[int], end: int, counts_sizes: bool
    ) -> None:
        super().__init__(model, int(model.config.d_model), 0)
        self._model = model
        self._rows = [torch.tensor([*begin, *text, end]) for text in texts]
        self._begin = len(begin)
        self._counts_sizes = counts_sizes

    def _asking(
        self, valid: Tensor, images: NDArray[np.int64], generator: np.random.Generator
    ) -> Callable[[Tensor, Tensor], Tensor]:
        rows = [self._rows[index] for index in images.tolist()]
        # The end is what is asked for last, and nothing follows it; nothing before the padding attends to that.
        given = pad_sequence([row[:-1] for row in rows], batch_first=True).to(self.device)
        lengths = torch.tensor([len(row) - 1 for row in rows], device=self.device)
        places = torch.arange(given.shape[1], device=self.device)
        asked = ((places >= self._begin - 1) & (places < lengths[:, None])).nonzero()
        # Logits over all words cost most of a step.
        asked = asked[torch.from_numpy(np.sort(generator.permutation(len(asked))[:MOST_PLACES])).to(self.device)]

        def write(tokens: Tensor, weights: Tensor) -> Tensor:
            bias = weights.clamp_min(1e-9).log() if self._counts_sizes else torch.zeros_like(weights)
            memory = Memory(tokens, bias.masked_fill(~valid, float("-inf"))[:, None, None])
            with memory.attended_by(self._model):
                hidden = self._model.model.decoder(
                    input_ids=given, encoder_hidden_states=tokens, use_cache=False
                ).last_hidden_state
            logits: Tensor = self._model.proj_out(hidden[asked[:, 0], asked[:, 1]])
            return logits

        return write
