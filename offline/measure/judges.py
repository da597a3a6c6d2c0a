"""How many right answers the cloud gives to each frame, whatever is asked of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from cloud.answerer import Prefix, Question
from cloud.torch_classifier import TorchClassifier
from offline.data.images import LabelledImages
from offline.data.questioned import QuestionedImages
from offline.data.utterances import Utterances
from thinwire.bundle import Bundle
from thinwire.equalise import ReceivedTokens
from thinwire.errors import InvalidRequestError, ThinwireError
from thinwire.nn.head import classify_tokens
from thinwire.nn.merging.tokens import Tokens
from thinwire.nn.placement import Placement

if TYPE_CHECKING:
    from cloud.torch_answerer import TorchAnswerer

# Both kinds of images to measure on, and all that is measured on.
Images = LabelledImages | QuestionedImages
Samples = Images | Utterances
# Questions that are answered together.
QUESTIONS = 128


class Verdict(NamedTuple):
    """What the cloud made of some frames: right answers of each, and ``frames x classes`` logits (none for texts)."""

    right: NDArray[np.int64]
    logits: NDArray[np.float32]


class Judge(Protocol):
    """Answers frames of a set of images and knows the right answers.

    Attributes:
        asked: how many answers each image of the set is asked for; int64.
        classes: width of the logits; 0 for texts.
    """

    asked: NDArray[np.int64]
    classes: int

    def frames(self, received: Sequence[ReceivedTokens], images: NDArray[np.int64]) -> Verdict:
        """Judge what was received of these images."""
        ...

    def tokens(self, tokens: Tokens, images: NDArray[np.int64]) -> Verdict:
        """Judge the tokens of these images as they are, without codec and channel."""
        ...


class LabelJudge:
    """One label for each image; see `Judge`.

    Attributes:
        classifier: the cloud's side.
        labels: the right class of each image; int64.
    """

    def __init__(self, classifier: TorchClassifier, images: LabelledImages) -> None:
        self.classifier = classifier
        self.asked = np.ones(len(images), dtype=np.int64)
        self.classes = len(classifier.bundle.labels)
        self.labels = images.labels

    def frames(self, received: Sequence[ReceivedTokens], images: NDArray[np.int64]) -> Verdict:
        """See `Judge`."""
        return self._judge(self.classifier.classify_frames(received), images)

    @torch.inference_mode()
    def tokens(self, tokens: Tokens, images: NDArray[np.int64]) -> Verdict:
        """See `Judge`."""
        valid = torch.cat((tokens.valid.new_ones(tokens.prefix.shape[:2]), tokens.valid), dim=1)
        x = torch.cat((tokens.prefix, tokens.x), dim=1)
        model, bundle = self.classifier.model, self.classifier.bundle
        logits = classify_tokens(
            model, bundle.split_layer, x, tokens.all_sizes, valid, bundle.merging.proportional_attention
        )
        return self._judge(logits.cpu().numpy(), images)

    def _judge(self, logits: NDArray[np.float32], images: NDArray[np.int64]) -> Verdict:
        return Verdict((logits.argmax(1) == self.labels[images]).astype(np.int64), logits)


class AnswerJudge:
    """Several questions about each image, whose answers must be right to the letter; see `Judge`."""

    classes = 0

    def __init__(self, answerer: "TorchAnswerer", images: QuestionedImages) -> None:
        self.answerer = answerer
        self._rows = images.rows
        self.asked = np.array([len(row) for row in self._rows], dtype=np.int64)

    def frames(self, received: Sequence[ReceivedTokens], images: NDArray[np.int64]) -> Verdict:
        """See `Judge`."""
        return self._judge(self.answerer.view_frames(received), images)

    def tokens(self, tokens: Tokens, images: NDArray[np.int64]) -> Verdict:
        """See `Judge`."""
        rows = [
            torch.cat((first, x[valid])) for first, x, valid in zip(tokens.prefix, tokens.x, tokens.valid, strict=True)
        ]
        return self._judge(self.answerer.language.view_tokens(rows), images)

    def _judge(self, views: Sequence[Prefix | ThinwireError], images: NDArray[np.int64]) -> Verdict:
        right = np.zeros(len(images), dtype=np.int64)
        asked = [
            (frame, Question(view, question), answer)
            for frame, (view, image) in enumerate(zip(views, images.tolist(), strict=True))
            # An image whose tokens say nothing finite has no right answer.
            if not isinstance(view, ThinwireError)
            for question, answer in self._rows[image]
        ]
        for start in range(0, len(asked), QUESTIONS):
            batch = asked[start : start + QUESTIONS]
            answers = self.answerer.answer([question for _, question, _ in batch])
            for (frame, _, expected), answer in zip(batch, answers, strict=True):
                right[frame] += not isinstance(answer, ThinwireError) and answer.text == expected
        return Verdict(right, np.zeros((len(images), 0), dtype=np.float32))


def load_judge(bundle: Bundle, images: Samples, placement: Placement) -> Judge:
    """The judge of a bundle's own weights.

    Args:
        placement: of the language model; of a classifier, its device.

    Raises:
        InvalidRequestError: the images are labelled where questions are answered, or any other mismatch of the kind.
        BundleError: the weights are not those that the manifest describes.
    """
    if bundle.task == "vqa" and isinstance(images, QuestionedImages):
        # transformers takes seconds to import, which only a bundle that needs it waits for.
        from cloud.torch_answerer import TorchAnswerer

        return AnswerJudge(TorchAnswerer.load(bundle, placement), images)
    if bundle.task == "transcription" and isinstance(images, Utterances):
        from cloud.torch_transcriber import TorchTranscriber
        from offline.measure.heard import TranscriptJudge

        return TranscriptJudge(TorchTranscriber.load(bundle, placement), images)
    if bundle.task == "classify" and isinstance(images, LabelledImages):
        return LabelJudge(TorchClassifier.load(bundle, placement.main_device), images)
    raise InvalidRequestError(f"bundle {bundle.name} is for the task {bundle.task!r}, got {type(images).__name__}")
