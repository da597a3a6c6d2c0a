"""Asking a running edge or cloud over REST."""

import argparse
import json
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from deploy.cli.common import finite, positive_int
from thinwire.errors import UnavailableError

if TYPE_CHECKING:
    import httpx


def base_url(text: str) -> str:
    """An address to which paths are added, as an option."""
    return text.rstrip("/")


def add_link_options(parser: argparse.ArgumentParser) -> None:
    """What decides how an image crosses the link."""
    parser.add_argument(
        "--url", type=base_url, default="http://127.0.0.1:8080", help="of the edge (default: %(default)s)"
    )
    parser.add_argument("--policy", default="auto", help="auto, none, or an id (default: %(default)s)")
    parser.add_argument("--budget-channel-uses", type=positive_int, metavar="N")
    parser.add_argument("--channel", help="channel model of this request (default: the link's own)")
    parser.add_argument("--csi", help="what the receiver knows of it (default: the link's own)")
    parser.add_argument("--snr", type=finite, metavar="DB", help="SNR of this request (default: the link's own)")
    parser.add_argument("--seed", type=int, help="seed of the noise")


def link_parameters(options: argparse.Namespace) -> dict[str, Any]:
    """The ``parameters`` of `add_link_options`, with only what was asked for."""
    channel = {"model": options.channel, "snr_db": options.snr, "seed": options.seed, "csi": options.csi}
    parameters: dict[str, Any] = {"policy": options.policy}
    if options.budget_channel_uses is not None:
        parameters["budget"] = {"channel_uses": options.budget_channel_uses}
    if asked := {name: value for name, value in channel.items() if value is not None}:
        parameters["channel"] = asked
    return parameters


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine; a proxy of the environment would look for it on its own."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def post(url: str, body: dict[str, Any], timeout_s: float = 60.0) -> dict[str, Any]:
    """Send JSON and take the answer.

    Args:
        url: the whole address.

    Raises:
        UnavailableError: nothing answers there, or nothing of ours.
        ThinwireError: what the server found wrong.
    """
    import httpx

    try:
        response = httpx.post(url, json=body, timeout=timeout_s, trust_env=not is_loopback(url))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _no_answer(url, error) from None
    return _answer_of(response)


async def post_image(
    client: "httpx.AsyncClient",
    url: str,
    image: bytes,
    media_type: str,
    parameters: dict[str, Any],
    request_id: str | None = None,
) -> dict[str, Any]:
    """Send an image as it is and take the answer.

    Args:
        client: whose connections and time limit are used.
        url: the whole address.
        image: the encoded image.
        media_type: "image/png" and the like.
        parameters: how to answer.
        request_id: names the frame and keys its noise; random when left out.

    Raises:
        UnavailableError, ThinwireError: as `post`.
    """
    import httpx

    headers = {"content-type": media_type} | ({"idempotency-key": request_id} if request_id else {})
    asked = {"parameters": json.dumps(parameters)}
    try:
        response = await client.post(url, params=asked, content=image, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _no_answer(url, error) from None
    return _answer_of(response)


def _no_answer(url: object, reason: object) -> UnavailableError:
    # Some of httpx's errors have no text.
    return UnavailableError(f"no answer from {url}: {str(reason) or type(reason).__name__}")


def _answer_of(response: "httpx.Response") -> dict[str, Any]:
    url = response.url.copy_with(query=None)
    try:
        answer: dict[str, Any] = response.json()
    # What is no JSON, or no text at all.
    except ValueError:
        answer = {}
    if not isinstance(answer, dict):
        answer = {}
    # A problem of ours has a code; of a path that is not served, one that tells no more than the status.
    is_problem = isinstance(answer.get("error"), str) and answer["error"] != "http_error"
    if not (is_problem if response.is_error else "outputs" in answer):
        media_type = response.headers.get("content-type", "no content type")
        raise _no_answer(
            url,
            f"it is no address of an edge or a cloud: HTTP {response.status_code} {response.reason_phrase}, "
            f"{media_type[:80]}",
        )
    if response.is_error:
        # grpc comes with it, which takes a while to load: not while somebody measures the time to an answer.
        from thinwire.rpc import from_problem
        from thinwire.v1 import link_pb2

        # JSON may hold half of a surrogate pair, which a message cannot.
        texts = (str(text) for text in (answer.get("error", ""), answer.get("detail", response.text)))
        code, detail = (text.encode("utf-8", "replace").decode() for text in texts)
        raise from_problem(link_pb2.Problem(code=code, detail=detail))
    return answer


def read_image(path: Any) -> bytes:
    """The bytes of a file.

    Raises:
        InvalidRequestError: it cannot be read.
    """
    from thinwire.errors import InvalidRequestError

    try:
        content: bytes = path.read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"cannot read {path}: {error.strerror}") from None
    return content
