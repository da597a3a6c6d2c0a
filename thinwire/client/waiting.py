"""The client for programs with an event loop."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self

import httpx

from thinwire.addresses import CLOUD_URL, EDGE_URL
from thinwire.client import messages
from thinwire.client.identity import File, Identity
from thinwire.client.messages import Budget, Call
from thinwire.client.overlapping import OVERLAP, in_order
from thinwire.client.pictures import Image
from thinwire.client.sounds import Sound
from thinwire.rest.schemas import ClassifyResponse, ModelBody, ModelsBody, VqaResponse
from thinwire.rest.transcription_answers import TranscriptResponse

if TYPE_CHECKING:
    from policies.policy import MeasuredPolicy

# Twice as long as the edge gives a request that says nothing of its time.
TIMEOUT_S = 60.0


class AsyncClient:
    """`thinwire.Client` for programs with an event loop: the same methods, to be awaited.

    Use it as an asynchronous context manager, or call `close`. It belongs to the event loop that first awaits it.

    Args:
        url: of the edge, or of a cloud, whose plain model then answers.
        cloud_url: of the cloud that holds the edge's frames, for further questions about them.
        timeout_s: seconds of silence after which a call gives up; one with a ``timeout_ms`` waits at least that long.
        token: shown to both; the default is the environment's ``THINWIRE_TOKEN``.
        ca: PEM file of who signed the certificates of https addresses; by default, whom this machine trusts.
        client_cert: PEM file of a certificate to show to them.
        client_key: of its key, without a password.

    Raises:
        InvalidRequestError: the time is not above zero, or a file cannot be read.

    Example (``url`` is a running edge's, ``photo`` the path of a photograph of a cat):

        >>> import asyncio, thinwire
        >>> async def classify_twice():
        ...     async with thinwire.AsyncClient(url) as client:
        ...         return await asyncio.gather(client.classify(photo, budget=38), client.classify(photo))
        >>> [answer.label for answer in asyncio.run(classify_twice())]
        ['cat', 'cat']
    """

    def __init__(
        self,
        url: str = EDGE_URL,
        cloud_url: str = CLOUD_URL,
        timeout_s: float = TIMEOUT_S,
        *,
        token: str | None = None,
        ca: File | None = None,
        client_cert: File | None = None,
        client_key: File | None = None,
    ) -> None:
        messages.check_timeout(timeout_s)
        self._identity = Identity.of(token, ca, client_cert, client_key)
        self.url, self.cloud_url, self._timeout_s = url.rstrip("/"), cloud_url.rstrip("/"), timeout_s
        self._http: dict[str, httpx.AsyncClient] = {}
        self._is_closed = False

    async def __aenter__(self) -> Self:
        """Nothing is opened before the first call."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """See `close`."""
        await self.close()

    async def close(self) -> None:
        """Close the connections; calls after it raise RuntimeError."""
        self._is_closed = True
        for http in self._http.values():
            await http.aclose()

    async def classify(
        self,
        image: Image,
        *,
        model: str | None = None,
        top_k: int | None = None,
        policy: str | None = None,
        budget: Budget | None = None,
        channel: Mapping[str, Any] | None = None,
        explain: bool | None = None,
        timeout_ms: float | None = None,
        id: str | None = None,
    ) -> ClassifyResponse:
        """See `thinwire.Client.classify`."""
        asked = {"model": model, "top_k": top_k, "policy": policy, "channel": channel, "explain": explain}
        # Reading and encoding an image takes its time, which is not the event loop's.
        call = await asyncio.to_thread(messages.classify, self.url, image, id, budget, timeout_ms=timeout_ms, **asked)
        answer: ClassifyResponse = await self._send(self.url, call)
        return answer

    async def ask(
        self,
        about: "Image | VqaResponse",
        question: str,
        *,
        model: str | None = None,
        policy: str | None = None,
        budget: Budget | None = None,
        channel: Mapping[str, Any] | None = None,
        explain: bool | None = None,
        timeout_ms: float | None = None,
        id: str | None = None,
        **generation: Any,
    ) -> VqaResponse:
        """See `thinwire.Client.ask`."""
        link = {"model": model, "policy": policy, "budget": budget, "channel": channel, "explain": explain, "id": id}
        generation["timeout_ms"] = timeout_ms
        base, call = await asyncio.to_thread(
            messages.question, self.url, self.cloud_url, about, question, link, generation
        )
        answer: VqaResponse = await self._send(base, call)
        return answer

    async def transcribe(
        self,
        about: "Sound | TranscriptResponse",
        *,
        language: str | None = None,
        prompt: str | None = None,
        temperature: float | None = None,
        model: str | None = None,
        policy: str | None = None,
        budget: Budget | None = None,
        channel: Mapping[str, Any] | None = None,
        explain: bool | None = None,
        timeout_ms: float | None = None,
        id: str | None = None,
    ) -> TranscriptResponse:
        """See `thinwire.Client.transcribe`."""
        link = {"model": model, "policy": policy, "budget": budget, "channel": channel, "explain": explain, "id": id}
        asked = {"language": language, "prompt": prompt, "temperature": temperature, "timeout_ms": timeout_ms}
        base, call = await asyncio.to_thread(messages.transcription, self.url, self.cloud_url, about, link, asked)
        answer: TranscriptResponse = await self._send(base, call)
        return answer

    def stream(
        self,
        images: Iterable[Image],
        *,
        overlap: int = OVERLAP,
        per_second: float | None = None,
        model: str | None = None,
        top_k: int | None = None,
        policy: str | None = None,
        budget: Budget | None = None,
        channel: Mapping[str, Any] | None = None,
        timeout_ms: float | None = None,
    ) -> AsyncGenerator[ClassifyResponse]:
        """See `thinwire.Client.stream`; the images are read in a thread."""

        async def ask(_: int, image: Image) -> ClassifyResponse:
            return await self.classify(
                image,
                model=model,
                top_k=top_k,
                policy=policy,
                budget=budget,
                channel=channel,
                timeout_ms=timeout_ms,
            )

        # Begun here, so that what is wrong with the arguments is told at once.
        answers = in_order(images, ask, overlap, per_second)

        async def following() -> AsyncGenerator[ClassifyResponse]:
            async with aclosing(answers):
                async for answered in answers:
                    yield answered.answer

        return following()

    async def models(self) -> list[ModelBody]:
        """See `thinwire.Client.models`."""
        answer: ModelsBody = await self._send(self.url, messages.models(self.url))
        return answer.models

    async def policies(self, bundle: str | None = None) -> "list[MeasuredPolicy]":
        """See `thinwire.Client.policies`."""
        call = messages.policies(self.url, bundle)
        return messages.read_policies(call, await self._send(self.url, call))

    async def _send(self, base: str, call: Call) -> Any:
        if self._is_closed:
            raise RuntimeError("the client is closed")
        try:
            if base not in self._http:
                self._http[base] = httpx.AsyncClient(**self._identity.options(base))
            response = await self._http[base].request(**call.options(self._timeout_s))
        except messages.FAILURES as error:
            raise messages.no_answer(call.url, error) from None
        return messages.read_answer(call, response)
