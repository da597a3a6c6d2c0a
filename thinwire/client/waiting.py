"""The client for programs with an event loop."""

from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx
from pydantic import BaseModel

from thinwire.addresses import CLOUD_URL, EDGE_URL
from thinwire.client import messages
from thinwire.client.messages import Budget, Image, parameters
from thinwire.client.overlapping import OVERLAP, in_order
from thinwire.errors import InvalidRequestError
from thinwire.rest.schemas import ClassifyResponse, VqaResponse

if TYPE_CHECKING:
    from policies.policy import MeasuredPolicy

# Twice as long as the edge gives a request that says nothing of its time.
TIMEOUT_S = 60.0
# Under the edge's five, so that no request meets a connection that is being closed.
KEEPALIVE_S = 2.0
R = TypeVar("R", bound=BaseModel)


class AsyncClient:
    """`thinwire.Client` for programs with an event loop: the same methods, to be awaited.

    Use it as an asynchronous context manager, or call `close`. It belongs to the event loop that first awaits it.

    Args:
        url: of the edge, or of a cloud, whose plain model then answers.
        cloud_url: of the cloud that holds the edge's frames, for further questions about them.
        timeout_s: seconds without a byte from the server after which a call gives up.

    Example (``url`` is a running edge's, ``photo`` the path of a photograph of a cat):

        >>> import asyncio, thinwire
        >>> async def classify_twice():
        ...     async with thinwire.AsyncClient(url) as client:
        ...         return await asyncio.gather(client.classify(photo, budget=38), client.classify(photo))
        >>> [answer.label for answer in asyncio.run(classify_twice())]
        ['cat', 'cat']
    """

    def __init__(self, url: str = EDGE_URL, cloud_url: str = CLOUD_URL, timeout_s: float = TIMEOUT_S) -> None:
        self.url, self.cloud_url = url.rstrip("/"), cloud_url.rstrip("/")
        limits = httpx.Limits(keepalive_expiry=KEEPALIVE_S)
        self._http = {
            # A proxy of the environment is for the web.
            base: httpx.AsyncClient(timeout=timeout_s, limits=limits, trust_env=not messages.is_loopback(base))
            for base in (self.url, self.cloud_url)
        }

    async def __aenter__(self) -> Self:
        """Nothing is opened before the first call."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """See `close`."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
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
        timeout_ms: float | None = None,
        id: str | None = None,
    ) -> ClassifyResponse:
        """See `thinwire.Client.classify`."""
        asked = parameters(budget, model=model, top_k=top_k, policy=policy, channel=channel, timeout_ms=timeout_ms)
        return await self._post(self.url, "/v1/classify", ClassifyResponse, messages.image_body(image, asked), id)

    async def ask(
        self,
        about: "Image | VqaResponse",
        question: str,
        *,
        model: str | None = None,
        policy: str | None = None,
        budget: Budget | None = None,
        channel: Mapping[str, Any] | None = None,
        timeout_ms: float | None = None,
        id: str | None = None,
        **generation: Any,
    ) -> VqaResponse:
        """See `thinwire.Client.ask`."""
        on_the_link = {"model": model, "policy": policy, "budget": budget, "channel": channel, "id": id}
        if not isinstance(about, VqaResponse):
            asked = parameters(budget, model=model, policy=policy, channel=channel, timeout_ms=timeout_ms, **generation)
            return await self._post(
                self.url, "/v1/vqa", VqaResponse, messages.question_form(about, question, asked), id
            )
        if given := [name for name, value in on_the_link.items() if value is not None]:
            raise InvalidRequestError(f"a question about tokens that the cloud holds crosses no link: got {given[0]}")
        asked = parameters(None, timeout_ms=timeout_ms, **generation)
        body = {"json": {"inputs": {"question": question}, "parameters": asked}, "headers": {}}
        return await self._post(self.cloud_url, f"/v1/frames/{about.id}/questions", VqaResponse, body)

    async def stream(
        self, images: Iterable[Image], *, overlap: int = OVERLAP, per_second: float | None = None, **options: Any
    ) -> AsyncGenerator[ClassifyResponse]:
        """See `thinwire.Client.stream`."""
        answers = in_order(images, lambda _, image: self.classify(image, **options), overlap, per_second)
        async with aclosing(answers):
            async for answered in answers:
                yield answered.answer

    async def policies(self, bundle: str | None = None) -> "list[MeasuredPolicy]":
        """See `thinwire.Client.policies`."""
        from policies.policy import MeasuredPolicy

        query = {} if bundle is None else {"bundle": bundle}
        found = await self._answer(self.url, self._http[self.url].get(f"{self.url}/v1/policies", params=query))
        return [MeasuredPolicy.from_json(content) for content in found.get("policies", [])]

    async def _post(self, base: str, path: str, kind: type[R], content: dict[str, Any], key: str | None = None) -> R:
        if key is not None:
            content["headers"]["idempotency-key"] = key
        answer: R = await self._answer(base + path, self._http[base].post(f"{base}{path}", **content), kind)
        return answer

    async def _answer(
        self, url: str, sent: Coroutine[Any, Any, httpx.Response], kind: type[BaseModel] | None = None
    ) -> Any:
        try:
            response = await sent
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            hint = " (cloud_url, or --cloud-url, says where the cloud is)" if "/frames/" in url else ""
            raise messages.no_answer(url, f"{str(error) or type(error).__name__}{hint}") from None
        return messages.read_answer(response, kind)
