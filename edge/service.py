"""What the device answers with one bundle: images, questions about them, streams of them."""

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager

from edge.answer import Answer
from edge.in_order import in_order
from edge.link_stream import LinkStream
from edge.repeats import Known, content_of
from edge.sender import Input, Read, Sender
from thinwire import tracing
from thinwire.errors import ThinwireError
from thinwire.generation import check_question
from thinwire.images import decode_apart
from thinwire.rest.schemas import LinkParameters, Parameters, VqaParameters
from thinwire.v1 import link_pb2

# Images of a stream that are under way behind the one that is answered next: enough to keep engine and link busy.
STREAM_WINDOW = 4


class EdgeService(Sender):
    """Answers requests; see `edge.sender.Sender`. Clips are `edge.clips`'."""

    async def classify(
        self, image_bytes: bytes, parameters: Parameters, request_id: str | None = None, want_logits: bool = False
    ) -> Answer:
        """Classify one encoded image.

        Args:
            image_bytes: the image as it came.
            parameters: how to answer; ``timeout_ms`` bounds the whole request.
            request_id: 32 hexadecimal digits that name the frame and key its noise, see `frame_id_of`; random when
                left out. What comes again under the same id sends the same frame again.
            want_logits: ask for all logits.

        Raises:
            IdTakenError: another request came under this id; see `content_of`.
            OverloadedError: too many images wait, here or in the cloud.
            DeadlineError: the time ran out, wherever the request stood.
            ThinwireError: any other error of the image, the choice, the engine or the link.
        """
        with self._request(image_bytes, "", parameters, request_id) as (request_id, known):
            asked = link_pb2.Frame(request_id=request_id, top_k=parameters.top_k, want_logits=want_logits)
            return await self.answer(self._reader(image_bytes), parameters, asked, self.device.client.infer, known)

    async def ask(
        self, image_bytes: bytes, question: str, parameters: VqaParameters, request_id: str | None = None
    ) -> Answer:
        """Answer a question about one encoded image; the cloud keeps its tokens for further questions.

        Args:
            image_bytes: the image as it came.
            question: about it; an empty one has the tokens kept and nothing answered.
            parameters: how to answer; ``timeout_ms`` bounds the whole request.
            request_id: as for `classify`.

        Raises:
            InvalidRequestError: the question is too long.
            IdTakenError, OverloadedError, DeadlineError, ThinwireError: as for `classify`.
        """
        with self._request(image_bytes, question, parameters, request_id) as (request_id, known):
            check_question(question)
            # Without a question nothing is generated.
            generation = parameters.generation.to_message() if question else None
            asked = link_pb2.Frame(request_id=request_id, question=question, generation=generation)
            return await self.answer(self._reader(image_bytes), parameters, asked, self.device.client.infer, known)

    async def classify_stream(
        self, images: AsyncIterator[bytes], parameters: Parameters
    ) -> AsyncGenerator[Answer | ThinwireError]:
        """Classify images as they come, over one call; ``timeout_ms`` bounds each image by itself.

        The frames share a request id and are numbered from 0 by their image.

        Yields:
            for each image, in the order of the images, the answer or the error that it met.
        """
        request_id = secrets.token_hex(16)
        link = LinkStream(self.device.client)

        async def answer(image: bytes, sequence_number: int) -> Answer | ThinwireError:
            try:
                span = tracing.span(
                    "image", request_id=request_id, sequence_number=sequence_number, bundle=self.bundle.name
                )
                with self.device.metrics.requests.counting(), span:
                    asked = link_pb2.Frame(
                        request_id=request_id, sequence_number=sequence_number, top_k=parameters.top_k
                    )
                    return await self.answer(self._reader(image), parameters, asked, link.send, Known())
            except ThinwireError as error:
                return error

        try:
            async with aclosing(in_order(images, answer, STREAM_WINDOW)) as answers:
                async for one in answers:
                    yield one
        finally:
            await link.close()

    def _reader(self, image: bytes) -> Read:
        async def read(deadline_s: float) -> Input:
            with self.device.metrics.decoding(), tracing.span("decode"):
                pixels, area = await decode_apart(image, self.bundle.preprocessing, deadline_s)
            return Input(lambda: pixels, area)

        return read

    @contextmanager
    def _request(
        self, image: bytes, question: str, parameters: LinkParameters, request_id: str | None
    ) -> Iterator[tuple[str, Known]]:
        """Count and trace a request that is one call; gives its id, and what is known of it if it chose that itself."""
        name = request_id or secrets.token_hex(16)
        with self.device.metrics.requests.counting(), tracing.span("image", request_id=name, bundle=self.bundle.name):
            if request_id is None:
                yield name, Known()
                return
            content = content_of(self.bundle.digest, image, question, parameters)
            with self.device.repeats.known(name, content) as known:
                yield name, known
