"""The task "vqa": from a frame and a question to an answer, and on to more questions about the same frame."""

import asyncio
import math
import secrets
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cloud.answerer import Answer, Answerer, Prefix, Question
from cloud.batcher import Batcher
from cloud.held_frames import HeldFrames
from cloud.task import Batching, content_of
from thinwire.bundle import Bundle
from thinwire.equalise import ReceivedTokens
from thinwire.errors import InvalidRequestError, ThinwireError
from thinwire.frames import frame_key
from thinwire.generation import Generation, check_question
from thinwire.v1 import link_pb2

# An answer; of a clip, its transcript.
A = TypeVar("A")


class Questions:
    """Serves an answerer; see `cloud.task.Task`.

    An image is read in once, and what was read is kept; answers are not, so that the same question is answered anew.
    A frame that comes again, with another question or the same, is answered from what is kept.

    Args:
        bundle: what is served.
        answerer: the model.
        batching: how frames, images and questions run.
        held: keeps what was read of frames, of other bundles among them.

    Attributes:
        bundle: what is served.
        frames: reads in frames.
        images: reads in plain images, ``size x size x 3`` arrays of uint8.
        questions: answers.
    """

    def __init__(self, bundle: Bundle, answerer: Answerer, batching: Batching, held: HeldFrames[Prefix]) -> None:
        def images(items: Sequence[NDArray[np.uint8]]) -> Sequence[Prefix | ThinwireError]:
            return answerer.view_images(np.stack(items))

        self.bundle = bundle
        self.frames: Batcher[ReceivedTokens, Prefix] = batching.open(bundle, "frame", answerer.view_frames)
        self.images: Batcher[NDArray[np.uint8], Prefix] = batching.open(bundle, "image", images)
        self.questions: Batcher[Question, Answer] = batching.open(bundle, "question", answerer.answer)
        self._held = held
        self._metrics = batching.metrics
        self._metrics.watch_held(held.__len__, lambda: held.nbytes)

    def check(self, frame: link_pb2.Frame) -> None:
        """Refuse labels and logits, and what no question and no answer can be."""
        check_question(frame.question)
        Generation.from_message(frame.generation)
        if frame.top_k or frame.want_logits:
            raise InvalidRequestError("the task 'vqa' has neither labels nor logits, got top_k or want_logits")
        if frame.HasField("transcription"):
            raise InvalidRequestError("the task 'vqa' writes nothing down, got a transcription")
        if frame.HasField("generation") and not frame.question:
            raise InvalidRequestError("a generation without a question generates nothing")

    async def answer(
        self, frame: link_pb2.Frame, tokens: ReceivedTokens, result: link_pb2.Result, deadline_s: float = math.inf
    ) -> None:
        """Read in the frame and, if it has a question, write the answer.

        Raises:
            ThinwireError: what `ask` raises; the symbols have no finite answer; or another frame of this name came
                before.
        """
        prefix = await self._held.share(
            frame_key(frame),
            content_of(self.bundle, tokens),
            lambda: self.frames.enqueue(tokens, deadline_s),
            deadline_s,
        )
        if frame.question:
            asked = Generation.from_message(frame.generation)
            answer = await self.ask(prefix, frame.question, asked, deadline_s=deadline_s)
            result.outputs.add(label=answer.text, score=answer.score)
            result.finish_reason = answer.finish_reason
            result.prompt_tokens, result.answer_tokens = answer.prompt_tokens, answer.tokens

    def find(self, name: str) -> Prefix | None:
        """What is kept of the frame of this id, if it is of this bundle."""
        held = self._held.find(name)
        return held.value if held is not None and held.content.startswith(self.bundle.digest.encode()) else None

    async def view(self, pixels: NDArray[np.uint8], deadline_s: float = math.inf) -> Prefix:
        """Read in one plain image; ``deadline_s`` as for `ask`."""
        return await self.images.submit(pixels, deadline_s)

    async def ask(
        self,
        prefix: Prefix,
        text: str,
        generation: Generation,
        on_text: Callable[[str], None] = lambda text: None,
        deadline_s: float = math.inf,
    ) -> Answer:
        """The answer to one question. If the caller is cancelled, the model stops writing it.

        Args:
            on_text: see `cloud.answerer.Question`.
            deadline_s: when nobody waits for the answer any more, by the event loop's clock.

        Raises:
            InvalidRequestError: the question is none that the language model takes.
            OverloadedError: too many wait.
            DeadlineError: its time was up before its turn came.
        """
        if generation.seed is None:
            # Fixed here: a batch that fails is run again one by one, and what was told stays told.
            generation = replace(generation, seed=secrets.randbits(64))
        question = Question(prefix, text, generation, on_text=on_text)
        with self._metrics.questions.counting():
            try:
                answer = await self.questions.submit(question, deadline_s)
            finally:
                question.given_up.set()
        self._metrics.observe_answer(answer.tokens)
        return answer

    async def close(self) -> None:
        """Finish what runs, and refuse the rest."""
        for batcher in (self.frames, self.images, self.questions):
            await batcher.close()
        self._held.clear()


async def stream(ask: Callable[[Callable[[str], None]], Coroutine[Any, Any, A]]) -> AsyncGenerator[str | A]:
    """The text of an answer piece by piece as it is written, and then the answer.

    The model stops writing when the generator is closed.

    Args:
        ask: asks, given what is to be told the text so far.
    """
    loop = asyncio.get_running_loop()
    texts: asyncio.Queue[str | None] = asyncio.Queue()

    def tell(text: str) -> None:
        # By the model's thread.
        loop.call_soon_threadsafe(texts.put_nowait, text)

    asking = asyncio.create_task(ask(tell))
    asking.add_done_callback(lambda _: texts.put_nowait(None))
    told = ""
    try:
        while (text := await texts.get()) is not None:
            if len(text) > len(told):
                piece, told = text[len(told) :], text
                yield piece
        yield await asking
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
