"""The client for scripts."""

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self

import httpx

from thinwire.addresses import CLOUD_URL, EDGE_URL
from thinwire.client import messages
from thinwire.client.identity import File, Identity
from thinwire.client.messages import Budget, Call
from thinwire.client.overlapping import OVERLAP, check_overlap
from thinwire.client.pictures import Image
from thinwire.client.sounds import Sound
from thinwire.client.waiting import TIMEOUT_S
from thinwire.rest.schemas import ClassifyResponse, ModelBody, ModelsBody, VqaResponse
from thinwire.rest.transcription_answers import TranscriptResponse

if TYPE_CHECKING:
    from policies.policy import MeasuredPolicy


class Client:
    """Asks a running edge, as ``thinwire up`` starts one, and the cloud behind it.

    Use it as a context manager, or call `close`. Threads may share one.

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

    Every call raises a `thinwire.ThinwireError`: what the server found wrong, as the class of `thinwire.errors` with
    the problem's ``code``, ``title``, ``http_status`` and ``detail``; or `thinwire.errors.UnavailableError` where
    nothing answers, or nothing of ours. After a fork, make another client.

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
        self._http: dict[str, httpx.Client] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    def __enter__(self) -> Self:
        """Nothing is opened before the first call."""
        return self

    def __exit__(self, *_: object) -> None:
        """See `close`."""
        self.close()

    def close(self) -> None:
        """Close the connections; calls after it raise RuntimeError."""
        self._is_closed = True
        for http in self._http.values():
            http.close()

    def classify(
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
        """What is in an image.

        Args:
            image: the path or the bytes of an encoded image, an image of Pillow, or ``H x W x 3`` uint8 pixels in RGB.
            model: the name of the bundle that is to answer; the server's default is the first of the task.
            top_k: how many labels to return, at most; the server's default is 5.
            policy: "auto" (the default: chosen by the budget), an id of `policies`, or "none" (nothing merged).
            budget: channel uses that the frame may cost; or a mapping with ``channel_uses``, or ``bandwidth_hz`` and
                ``airtime_ms``, and beside them ``edge_gmacs`` and ``min_accuracy``.
            channel: the simulated channel of this request, ``model``, ``snr_db``, ``seed`` and ``csi``; what is left
                out is the link's own.
            explain: whether to tell which patches became which token, and the symbols sent and received.
            timeout_ms: how long the answer may take; the server's default is 30,000.
            id: the idempotency key: the same key sends the same frame, which meets the same noise.

        Returns:
            the answer: ``label`` and ``score`` of the likeliest, all ``outputs``, ``policy``, ``link`` (tokens and
            channel uses), ``cost`` (GMACs of the device), ``timings_ms``, and ``explain`` where it was asked for.
        """
        asked = {"model": model, "top_k": top_k, "policy": policy, "channel": channel, "explain": explain}
        answer: ClassifyResponse = self._send(
            self.url, messages.classify(self.url, image, id, budget, timeout_ms=timeout_ms, **asked)
        )
        return answer

    def ask(
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
        """A question about an image, or another about one that was sent before.

        Args:
            about: an image, as for `classify`; or the answer to an earlier question, of whose image the cloud holds the
                tokens: nothing is sent again, and neither a model nor what concerns the link can be given.
            question: in words.
            model: this and the rest are as for `classify`.
            generation: ``max_new_tokens``, ``temperature``, ``top_p`` and ``seed`` of the language model.

        Returns:
            the answer: ``answer`` and ``score``, and the rest as for `classify`.
        """
        link = {"model": model, "policy": policy, "budget": budget, "channel": channel, "explain": explain, "id": id}
        generation["timeout_ms"] = timeout_ms
        answer: VqaResponse = self._send(
            *messages.question(self.url, self.cloud_url, about, question, link, generation)
        )
        return answer

    def transcribe(
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
        """What a clip says, or once more what one says that was sent before.

        Args:
            about: the path or the bytes of a sound file, or a row of floating-point samples at 16 kHz; or the answer
                about an earlier clip, of which the cloud holds the tokens: nothing is sent again, and neither a model
                nor what concerns the link can be given.
            language: code or English name of what is spoken; by default the model finds out.
            prompt: text that is taken for what was said before.
            temperature: 0 to 1; see ``docs/use.md``.
            model: this and the rest are as for `classify`; the budget is that of each window of the clip, and the same
                ``id`` sends the same frames.

        Returns:
            the answer: ``text``, ``language``, ``duration``, ``segments``, and of all windows together ``policy``,
            ``link``, ``cost`` and ``timings_ms``, which each of ``windows`` has, too.
        """
        link = {"model": model, "policy": policy, "budget": budget, "channel": channel, "explain": explain, "id": id}
        asked = {"language": language, "prompt": prompt, "temperature": temperature, "timeout_ms": timeout_ms}
        answer: TranscriptResponse = self._send(*messages.transcription(self.url, self.cloud_url, about, link, asked))
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
    ) -> Iterator[ClassifyResponse]:
        """Classify images one after the other, several under way at once.

        Args:
            images: each is read when it is sent.
            overlap: images under way at once.
            per_second: images to send a second; None: as fast as they are answered.
            model: this and the rest are as for `classify`.

        Yields:
            the answers, in the order of the images; the first error ends it.
        """
        check_overlap(overlap, per_second)

        def ask(image: Image, answer: Future[ClassifyResponse]) -> None:
            try:
                found = self.classify(
                    image,
                    model=model,
                    top_k=top_k,
                    policy=policy,
                    budget=budget,
                    channel=channel,
                    timeout_ms=timeout_ms,
                )
            except BaseException as error:
                answer.set_exception(error)
            else:
                answer.set_result(found)

        def answers() -> Iterator[ClassifyResponse]:
            under_way: deque[Future[ClassifyResponse]] = deque()
            first_s = time.monotonic()
            for number, image in enumerate(images):
                if per_second is not None:
                    time.sleep(max(0.0, first_s + number / per_second - time.monotonic()))
                answer: Future[ClassifyResponse] = Future()
                under_way.append(answer)
                # Daemons: a script that leaves a stream early ends all the same.
                threading.Thread(target=ask, args=(image, answer), daemon=True).start()
                if len(under_way) == overlap:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()

        return answers()

    def models(self) -> list[ModelBody]:
        """The bundles that the edge serves, each with its task; of one task the first answers where none is named."""
        answer: ModelsBody = self._send(self.url, messages.models(self.url))
        return answer.models

    def policies(self, bundle: str | None = None) -> "list[MeasuredPolicy]":
        """The policies that the edge serves from, of all fronts of a bundle, each with what was measured of it.

        Args:
            bundle: its name; by default the first that the edge serves.
        """
        call = messages.policies(self.url, bundle)
        return messages.read_policies(call, self._send(self.url, call))

    def _send(self, base: str, call: Call) -> Any:
        if self._is_closed:
            raise RuntimeError("the client is closed")
        try:
            with self._lock:
                http = self._http.get(base) or httpx.Client(**self._identity.options(base))
                self._http[base] = http
            response = http.request(**call.options(self._timeout_s))
        except messages.FAILURES as error:
            raise messages.no_answer(call.url, error) from None
        return messages.read_answer(call, response)
