"""The task "transcription": from a frame to what its clip says, and on to other transcripts of the same frame."""

import math
import secrets
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cloud.answerer import Prefix
from cloud.batcher import Batcher
from cloud.held_frames import HeldFrames
from cloud.task import Batching, content_of
from cloud.transcriber import Heard, Transcriber, Transcript, Utterance
from thinwire.audio import SAMPLE_RATE, SAMPLES_PER_POSITION
from thinwire.bundle import Bundle
from thinwire.equalise import ReceivedTokens
from thinwire.errors import InvalidRequestError, ThinwireError
from thinwire.frames import frame_key
from thinwire.transcription import TranscriptionOptions
from thinwire.v1 import link_pb2


class Transcriptions:
    """Serves a transcriber; see `cloud.task.Task`.

    A clip's symbols are decoded once, and its tokens are kept; transcripts are not, so that the same clip is written
    down anew. A frame that comes again, with other options or the same, is written down from what is kept.

    Args:
        bundle: what is served.
        transcriber: the model.
        batching: how frames, audio and transcripts run.
        held: keeps what was heard, beside what other tasks and bundles keep.

    Attributes:
        bundle: what is served.
        window_samples: most samples of a clip.
        frames: decodes frames, beside each of which stands how many seconds of it are no padding; 0: all.
        audio: hears plain audio, rows of float32 at 16 kHz.
        transcripts: writes down.
    """

    def __init__(self, bundle: Bundle, transcriber: Transcriber, batching: Batching, held: HeldFrames[Prefix]) -> None:
        def frames(items: Sequence[tuple[ReceivedTokens, float]]) -> Sequence[Heard | ThinwireError]:
            found = transcriber.hear_frames([tokens for tokens, _ in items])
            lengths = [seconds or None for _, seconds in items]
            return [
                replace(one, seconds=seconds) if isinstance(one, Heard) else one
                for one, seconds in zip(found, lengths, strict=True)
            ]

        self.bundle = bundle
        self.window_samples = bundle.patches * SAMPLES_PER_POSITION
        self.frames: Batcher[tuple[ReceivedTokens, float], Prefix] = batching.open(bundle, "frame", frames)
        self.audio: Batcher[NDArray[np.float32], Heard] = batching.open(bundle, "audio", transcriber.hear_audio)
        self.transcripts: Batcher[Utterance, Transcript] = batching.open(bundle, "transcript", transcriber.transcribe)
        self._held = held
        self._metrics = batching.metrics
        self._metrics.watch_held(held.__len__, lambda: held.nbytes)

    def check(self, frame: link_pb2.Frame) -> None:
        """Refuse labels, logits, questions and answers, and what no clip and no transcript can be."""
        if frame.top_k or frame.want_logits:
            raise InvalidRequestError("the task 'transcription' has no labels and no logits, got top_k or want_logits")
        if frame.question or frame.HasField("generation"):
            raise InvalidRequestError("the task 'transcription' answers no question, got a question or a generation")
        TranscriptionOptions.from_message(frame.transcription)
        seconds, most = frame.transcription.seconds, self.window_samples / SAMPLE_RATE
        if not 0 <= seconds <= most:
            raise InvalidRequestError(f"a clip's seconds must be 0 to {most:g}, got {seconds:g}")

    async def answer(
        self, frame: link_pb2.Frame, tokens: ReceivedTokens, result: link_pb2.Result, deadline_s: float = math.inf
    ) -> None:
        """Decode the frame and, if it says how, write its clip down.

        Raises:
            ThinwireError: what `write` raises; the symbols have no finite answer; or another frame of this name came
                before.
        """
        seconds = frame.transcription.seconds
        heard = await self._held.share(
            frame_key(frame),
            content_of(self.bundle, tokens) + struct.pack("<d", seconds),
            lambda: self.frames.enqueue((tokens, seconds), deadline_s),
            deadline_s,
        )
        if not frame.HasField("transcription"):
            return
        assert isinstance(heard, Heard)
        options = TranscriptionOptions.from_message(frame.transcription)
        transcript = await self.write(heard, options, deadline_s=deadline_s)
        result.transcript.CopyFrom(transcript.to_message())
        result.outputs.add(label=transcript.text, score=math.exp(transcript.avg_logprob))
        result.finish_reason = transcript.finish_reason
        result.prompt_tokens, result.answer_tokens = transcript.prompt_tokens, transcript.tokens

    def find(self, name: str) -> Heard | None:
        """What is kept of the frame of this id, if it is of this bundle."""
        held = self._held.find(name)
        if held is None or not held.content.startswith(self.bundle.digest.encode()):
            return None
        assert isinstance(held.value, Heard)
        return held.value

    async def hear(self, audio: NDArray[np.float32], deadline_s: float = math.inf) -> Heard:
        """Hear one window of plain audio; ``deadline_s`` as for `write`."""
        heard = await self.audio.submit(audio, deadline_s)
        return replace(heard, seconds=len(audio) / SAMPLE_RATE)

    async def write(
        self,
        heard: Heard,
        options: TranscriptionOptions,
        on_text: Callable[[str], None] = lambda text: None,
        deadline_s: float = math.inf,
    ) -> Transcript:
        """What one clip says. If the caller is cancelled, the model stops writing it.

        Args:
            on_text: see `cloud.transcriber.Utterance`.
            deadline_s: when nobody waits for the transcript any more, by the event loop's clock.

        Raises:
            InvalidRequestError: the options ask for what the model cannot do.
            OverloadedError: too many wait.
            DeadlineError: its time was up before its turn came.
        """
        if options.seed is None:
            # Fixed here: a batch that fails is run again one by one, and what was told stays told.
            options = replace(options, seed=secrets.randbits(64))
        utterance = Utterance(heard, options, on_text=on_text)
        with self._metrics.questions.counting():
            try:
                transcript = await self.transcripts.submit(utterance, deadline_s)
            finally:
                utterance.given_up.set()
        self._metrics.observe_answer(transcript.tokens)
        return transcript

    async def close(self) -> None:
        """Finish what runs, and refuse the rest."""
        for batcher in (self.frames, self.audio, self.transcripts):
            await batcher.close()
        self._held.clear()
