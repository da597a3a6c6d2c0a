"""How many of the spoken digits the cloud writes down from each frame."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from cloud.torch_transcriber import TorchTranscriber
from cloud.transcriber import Heard, Utterance
from offline.data.utterances import Utterances
from offline.measure.judges import Verdict
from offline.measure.transcripts import digit_errors
from thinwire.equalise import ReceivedTokens
from thinwire.errors import ThinwireError
from thinwire.nn.merging.tokens import Tokens
from thinwire.transcription import TranscriptionOptions

# The likeliest token each time, whatever comes of it: a second attempt would be drawn.
GREEDY = TranscriptionOptions(
    temperatures=(0.0,), compression_ratio_threshold=None, logprob_threshold=None, no_speech_threshold=None
)


class TranscriptJudge:
    """One transcript of each utterance, by greedy decoding; see `offline.measure.judges.Judge`.

    What is ``asked`` are its digits, and right are those less the errors (`offline.measure.transcripts`), which may be
    more: ``right`` may be negative.
    """

    classes = 0

    def __init__(self, transcriber: TorchTranscriber, utterances: Utterances) -> None:
        self.transcriber = transcriber
        self._said = [one.digits for one in utterances.utterances]
        self._seconds = utterances.seconds
        self.asked = np.array([len(digits) for digits in self._said], dtype=np.int64)

    def frames(self, received: Sequence[ReceivedTokens], images: NDArray[np.int64]) -> Verdict:
        """See `Judge`."""
        return self._judge(self.transcriber.hear_frames(received), images)

    @torch.inference_mode()
    def tokens(self, tokens: Tokens, images: NDArray[np.int64]) -> Verdict:
        """See `Judge`."""
        heard = [
            Heard(x[:count].cpu().numpy(), sizes[:count].cpu().numpy())
            for x, sizes, count in zip(tokens.x, tokens.sizes, tokens.counts.tolist(), strict=True)
        ]
        return self._judge(heard, images)

    def texts(self, heard: Sequence[Heard | ThinwireError]) -> list[str]:
        """The transcripts; empty where there is none."""
        found = iter(self.transcriber.transcribe([Utterance(one, GREEDY) for one in heard if isinstance(one, Heard)]))
        texts = [next(found) if isinstance(one, Heard) else one for one in heard]
        return ["" if isinstance(text, ThinwireError) else text.text for text in texts]

    def errors(self, texts: Sequence[str], images: NDArray[np.int64]) -> NDArray[np.int64]:
        """Errors of transcripts of these utterances."""
        pairs = zip(texts, images.tolist(), strict=True)
        return np.array([digit_errors(self._said[image], text) for text, image in pairs], dtype=np.int64)

    def _judge(self, heard: Sequence[Heard | ThinwireError], images: NDArray[np.int64]) -> Verdict:
        # As a frame says it.
        timed = [
            replace(one, seconds=seconds) if isinstance(one, Heard) else one
            for one, seconds in zip(heard, self._seconds[images].tolist(), strict=True)
        ]
        right = self.asked[images] - self.errors(self.texts(timed), images)
        return Verdict(right, np.zeros((len(images), 0), dtype=np.float32))
