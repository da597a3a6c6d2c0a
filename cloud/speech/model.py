"""A Whisper that writes down received tokens, a different number of them for each clip."""

import math
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cloud.speech.decode import Attempt, decode, read
from cloud.speech.memory import Memory
from cloud.speech.transcript import compression_ratio, split
from cloud.speech.vocabulary import TIMESTAMPS_PER_SECOND, Vocabulary, complete, language_name
from cloud.transcriber import Transcript
from thinwire.errors import InvalidFrameError, InvalidRequestError, ThinwireError, UnavailableError
from thinwire.transcription import TranscriptionOptions


@dataclass(frozen=True)
class Clip:
    """One clip of up to 30 s, as it was received.

    Attributes:
        tokens: ``N x width`` float32, the encoder's output behind its final norm; N of at least 1.
        sizes: ``N`` float32, positions of the encoder that each stands for; None: 1 each.
        seconds: how much of the clip is not padding; None: as long as the encoder's window.
        options: how to decode it.
        given_up: set when nobody waits for it any more.
        on_text: told the whole text so far, whenever it has grown, by the model's thread; at once with beam search, and
            nothing of what may be silence, by the options' `no_speech_threshold`.
            Where a transcript was not good enough, the next one starts anew, so that the text is another one.
    """

    tokens: Tensor
    sizes: Tensor | None = None
    seconds: float | None = None
    options: TranscriptionOptions = field(default_factory=TranscriptionOptions)
    given_up: threading.Event = field(default_factory=threading.Event)
    on_text: Callable[[str], None] = lambda text: None


@dataclass
class _Row:
    """A clip on its way to a transcript; ``tries`` counts temperatures."""

    clip: Clip
    before: list[int]
    language: int | None
    generator: np.random.Generator
    tries: int = 0
    no_speech: float = math.nan
    outcome: Transcript | ThinwireError | None = None


class SpeechModel:
    """The decoder of a ``WhisperForConditionalGeneration``.

    Args:
        model: in evaluation mode; its generation configuration is completed, see `cloud.speech.vocabulary.complete`.
        tokenizer: of the same checkpoint.
        sizes_in_logits: whether a token that stands for several positions is attended to as that many would be.

    Raises:
        BundleError: the tokenizer is not Whisper's.
    """

    def __init__(self, model: Any, tokenizer: Any, sizes_in_logits: bool = False) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.vocabulary = Vocabulary(tokenizer, model.generation_config)
        complete(tokenizer, model.generation_config)
        self._sizes_in_logits = sizes_in_logits
        self._context: int = model.config.max_target_positions
        self._codes = {token: code for code, token in self.vocabulary.languages.items()}
        # The bias of cross-attention hangs on the model while it runs.
        self._lock = threading.Lock()

    @torch.inference_mode()
    def transcribe(self, clips: Sequence[Clip]) -> list[Transcript | ThinwireError]:
        """Write down several clips together; each gets what it would get alone.

        Returns:
            one for each clip; an error for one that is no clip of this model, that asks for what the model cannot do,
            whose numbers are not finite, or that was given up.
        """
        rows = [self._row(clip) for clip in clips]
        open_rows = [row for row in rows if isinstance(row, _Row)]
        with self._lock:
            for group in _groups(open_rows, lambda row: len(row.before)):
                self._listen(group)
            while open_rows:
                for group in _groups(open_rows, self._kind):
                    self._try(group)
                open_rows = [row for row in open_rows if row.outcome is None]
        return [row.outcome or _given_up() if isinstance(row, _Row) else row for row in rows]

    def _row(self, clip: Clip) -> _Row | ThinwireError:
        width, tokens, sizes = self.model.config.d_model, clip.tokens, clip.sizes
        if tokens.ndim != 2 or tokens.shape[1] != width or not len(tokens):
            return InvalidFrameError(f"expected N x {width} tokens of a clip, got {tuple(tokens.shape)}")
        if sizes is not None and (sizes.shape != tokens.shape[:1] or not bool((sizes > 0).all())):
            return InvalidFrameError(f"expected {len(tokens)} sizes above 0, got {tuple(sizes.shape)}")
        if not bool(tokens.isfinite().all()) or (sizes is not None and not bool(sizes.isfinite().all())):
            return InvalidFrameError("a clip's tokens and sizes must be finite")
        try:
            # Half of the context, as OpenAI has it, is for what is written.
            before = self.vocabulary.before(clip.options.prompt, self._context // 2 - 1)
            language = self.vocabulary.language(clip.options)
        except InvalidRequestError as error:
            return error
        return _Row(clip, before, language, np.random.default_rng(clip.options.seed))

    def _memory(self, rows: Sequence[_Row]) -> Memory:
        def put(tensor: Tensor) -> Tensor:
            return tensor.to(self.model.device, self.model.dtype)

        sizes = [torch.ones(len(row.clip.tokens)) if row.clip.sizes is None else row.clip.sizes for row in rows]
        return Memory.of(
            [put(row.clip.tokens) for row in rows],
            [size.to(self.model.device) for size in sizes] if self._sizes_in_logits else None,
        )

    def _listen(self, rows: Sequence[_Row]) -> None:
        """Find out whether somebody speaks and, where that was not said, what language."""
        memory, start = self._memory(rows), self.vocabulary.start
        with memory.attended_by(self.model):
            logits = read(self.model, memory, self._ids([[*row.before, start] for row in rows]))[:, -1]
            for row, value in zip(rows, logits.softmax(-1)[:, self.vocabulary.no_speech].tolist(), strict=True):
                row.no_speech = value
            if self.vocabulary.languages and any(row.language is None for row in rows):
                if rows[0].before:
                    logits = read(self.model, memory, self._ids([[start]] * len(rows)))[:, -1]
                known = list(self._codes)
                for row, place in zip(rows, logits[:, known].argmax(-1).tolist(), strict=True):
                    row.language = known[place] if row.language is None else row.language

    def _ids(self, rows: list[list[int]]) -> Tensor:
        return torch.tensor(rows, device=self.model.device)

    def _begin(self, row: _Row) -> list[int]:
        return row.before + self.vocabulary.begin(row.clip.options, row.language)

    def _most(self, row: _Row) -> int:
        return min(row.clip.options.most_tokens(self._seconds(row)), self._context - len(self._begin(row)))

    def _seconds(self, row: _Row) -> float:
        window = self.model.config.max_source_positions / TIMESTAMPS_PER_SECOND
        return window if row.clip.seconds is None else row.clip.seconds

    def _kind(self, row: _Row) -> tuple[int, bool, int, int]:
        """Rows of one kind are decoded together: length, timestamps, beams and, for beam search, the limit."""
        asked = row.clip.options
        beams = asked.beams if asked.temperatures[row.tries] == 0 else 1
        return len(self._begin(row)), asked.timestamps, beams, self._most(row) if beams > 1 else 0

    def _try(self, rows: Sequence[_Row]) -> None:
        """Decode rows of one kind at their next temperatures."""
        _, timestamps, beams, _ = self._kind(rows[0])
        attempts = [
            Attempt(
                row.clip.options.temperatures[row.tries],
                self._most(row),
                row.generator,
                row.clip.given_up.is_set,
                _told(row),
            )
            for row in rows
        ]
        memory = self._memory(rows)
        with memory.attended_by(self.model):
            decode(
                self.model,
                self.tokenizer,
                self.vocabulary,
                memory,
                self._ids([self._begin(row) for row in rows]),
                attempts,
                timestamps=timestamps,
                beams=beams,
            )
        for row, attempt in zip(rows, attempts, strict=True):
            row.outcome = self._outcome(row, attempt)
            row.tries += 1

    def _outcome(self, row: _Row, attempt: Attempt) -> Transcript | ThinwireError | None:
        """What came of an attempt; None: it is to be tried again."""
        if row.clip.given_up.is_set():
            return _given_up()
        if not math.isfinite(attempt.logprob):
            return ThinwireError("the speech model has no finite answer to this clip")
        asked = row.clip.options
        # A model may say when things were said without being asked.
        first = self.vocabulary.first_timestamp if not asked.timestamps else math.inf
        segments = split(self.vocabulary, [token for token in attempt.tokens if token < first], self._seconds(row))
        text = self.vocabulary.text(attempt.tokens).strip()
        ratio, average = compression_ratio(text), attempt.avg_logprob
        is_unlikely = asked.logprob_threshold is not None and average < asked.logprob_threshold
        is_silence = is_unlikely and asked.no_speech_threshold is not None and row.no_speech > asked.no_speech_threshold
        repeats = asked.compression_ratio_threshold is not None and ratio > asked.compression_ratio_threshold
        if (repeats or is_unlikely) and not is_silence and row.tries + 1 < len(asked.temperatures):
            return None
        return Transcript(
            text="" if is_silence else text,
            language=language_name("en" if row.language is None else self._codes[row.language]),
            segments=() if is_silence else segments,
            temperature=attempt.temperature,
            avg_logprob=average,
            compression_ratio=ratio,
            no_speech_prob=row.no_speech,
            prompt_tokens=len(row.clip.tokens) + len(self._begin(row)),
            tokens=len(attempt.tokens) + attempt.is_ended,
            finish_reason="stop" if attempt.is_ended else "length",
        )


def _told(row: _Row) -> Callable[[str], None]:
    """What is told the text as it is written: nothing, while that may turn out to be silence."""
    most = row.clip.options.no_speech_threshold
    return row.clip.on_text if most is None or row.no_speech <= most else lambda text: None


def _given_up() -> UnavailableError:
    return UnavailableError("nobody waits for this transcript")


def _groups(rows: Sequence[_Row], kind: Callable[[_Row], Hashable]) -> Iterable[list[_Row]]:
    found: dict[Hashable, list[_Row]] = defaultdict(list)
    for row in rows:
        found[kind(row)].append(row)
    return found.values()
