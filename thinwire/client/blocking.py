"""The client for scripts."""

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from thinwire.addresses import CLOUD_URL, EDGE_URL
from thinwire.client.messages import Budget, Image
from thinwire.client.overlapping import OVERLAP
from thinwire.client.waiting import TIMEOUT_S, AsyncClient
from thinwire.rest.schemas import ClassifyResponse, VqaResponse

if TYPE_CHECKING:
    from policies.policy import MeasuredPolicy

T = TypeVar("T")


class Client:
    """Asks a running edge, as ``thinwire up`` starts one, and the cloud behind it.

    Use it as a context manager, or call `close`. Threads may share one.

    Args:
        url: of the edge, or of a cloud, whose plain model then answers.
        cloud_url: of the cloud that holds the edge's frames, for further questions about them.
        timeout_s: seconds without a byte from the server after which a call gives up.

    Every call raises a `thinwire.ThinwireError`: what the server found wrong, as the class of `thinwire.errors` with
    the problem's ``code``, ``title``, ``http_status`` and ``detail``; or `thinwire.errors.UnavailableError` where
    nothing answers, or nothing of ours.

    Example (``url``, ``cloud_url`` are a running edge's and cloud's, ``photo`` the path of a photograph of a cat and
    ``triangle`` that of a drawn triangle):

        >>> import thinwire
        >>> with thinwire.Client(url, cloud_url) as client:
        ...     cat = client.classify(photo, budget=38)
        ...     seen = client.ask(triangle, "what color is the triangle?", budget=38)
        ...     again = client.ask(seen, "is there a circle?")
        ...     try:
        ...         client.classify(b"no image")
        ...     except thinwire.errors.InvalidImageError as error:
        ...         refused = error
        >>> cat.label, cat.link.channel_uses <= 38
        ('cat', True)
        >>> seen.answer, again.answer, again.link
        ('blue', 'no', None)
        >>> refused.code, refused.http_status
        ('invalid_image', 422)
    """

    def __init__(self, url: str = EDGE_URL, cloud_url: str = CLOUD_URL, timeout_s: float = TIMEOUT_S) -> None:
        self._client = AsyncClient(url, cloud_url, timeout_s)
        self._loop = asyncio.new_event_loop()
        # A daemon: a script that never closes its client still ends.
        self._thread = threading.Thread(target=self._loop.run_forever, name="thinwire-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """Nothing is opened before the first call."""
        return self

    def __exit__(self, *_: object) -> None:
        """See `close`."""
        self.close()

    def close(self) -> None:
        """Close the connections; calls that still wait fail. Closing again does nothing."""
        if self._loop.is_closed():
            return
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def classify(
        self,
        image: Image,
        *,
        top_k: int | None = None,
        policy: str | None = None,
        budget: Budget | None = None,
        channel: Mapping[str, Any] | None = None,
        timeout_ms: float | None = None,
        id: str | None = None,
    ) -> ClassifyResponse:
        """What is in an image.

        Args:
            image: the path or the bytes of an encoded image, an image of Pillow, or ``H x W x 3`` uint8 pixels in RGB.
            top_k: how many labels to return, at most; the server's default is 5.
            policy: "auto" (the default: chosen by the budget), an id of `policies`, or "none" (nothing merged).
            budget: channel uses that the frame may cost; or a mapping with ``channel_uses``, or ``bandwidth_hz`` and
                ``airtime_ms``, and beside them ``edge_gmacs`` and ``min_accuracy``.
            channel: the simulated channel of this request, ``model``, ``snr_db``, ``seed`` and ``csi``; what is left
                out is the link's own.
            timeout_ms: how long the answer may take; the server's default is 30,000.
            id: the idempotency key: the same key sends the same frame, which meets the same noise.

        Returns:
            the answer: ``label`` and ``score`` of the likeliest, all ``outputs``, ``policy``, ``link`` (tokens and
            channel uses), ``cost`` (GMACs of the device) and ``timings_ms``.
        """
        return self._run(
            self._client.classify(
                image, top_k=top_k, policy=policy, budget=budget, channel=channel, timeout_ms=timeout_ms, id=id
            )
        )

    def ask(
        self,
        about: "Image | VqaResponse",
        question: str,
        *,
        policy: str | None = None,
        budget: Budget | None = None,
        channel: Mapping[str, Any] | None = None,
        timeout_ms: float | None = None,
        id: str | None = None,
        **generation: Any,
    ) -> VqaResponse:
        """A question about an image, or another about one that was sent before.

        Args:
            about: an image, as for `classify`; or the answer to an earlier question, of whose image the cloud holds the
                tokens: nothing is sent again, and what concerns the link cannot be given.
            question: in words.
            policy: this and the rest are as for `classify`.
            generation: ``max_new_tokens``, ``temperature``, ``top_p`` and ``seed`` of the language model.

        Returns:
            the answer: ``answer`` and ``score``, and the rest as for `classify`.
        """
        link: dict[str, Any] = {"policy": policy, "budget": budget, "channel": channel, "id": id}
        return self._run(self._client.ask(about, question, timeout_ms=timeout_ms, **link, **generation))

    def stream(
        self, images: Iterable[Image], *, overlap: int = OVERLAP, per_second: float | None = None, **options: Any
    ) -> Iterator[ClassifyResponse]:
        """Classify images one after the other, several under way at once.

        Args:
            images: read as they are needed, in a thread.
            overlap: images under way at once.
            per_second: images to send a second; None: as fast as they are answered.
            options: those of `classify`.

        Yields:
            the answers, in the order of the images; the first error ends it.
        """
        answers = self._client.stream(images, overlap=overlap, per_second=per_second, **options)

        async def following() -> ClassifyResponse | None:
            return await anext(answers, None)

        try:
            while (answer := self._run(following())) is not None:
                yield answer
        finally:
            self._run(answers.aclose())

    def policies(self, bundle: str | None = None) -> "list[MeasuredPolicy]":
        """The policies that the edge serves from, of all fronts of a bundle, each with what was measured of it.

        Args:
            bundle: its name; by default the first that the edge serves.
        """
        return self._run(self._client.policies(bundle))

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            future = asyncio.run_coroutine_threadsafe(call, self._loop)
        except RuntimeError:
            call.close()
            raise RuntimeError("the client is closed") from None
        try:
            return future.result()
        # Ctrl-C, too: what nobody waits for is not asked.
        except BaseException:
            future.cancel()
            raise
