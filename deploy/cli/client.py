"""Asking a running edge or cloud over REST."""

import argparse
from typing import Any

from deploy.cli.common import finite, positive_int


def add_link_options(parser: argparse.ArgumentParser) -> None:
    """What decides how an image crosses the link."""
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="of the edge (default: %(default)s)")
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


def post(url: str, body: dict[str, Any], timeout_s: float = 60.0) -> dict[str, Any]:
    """Send JSON and take the answer.

    Args:
        url: the whole address.

    Raises:
        UnavailableError: nothing answers there, or nothing of ours.
        ThinwireError: what the server found wrong.
    """
    import httpx

    from thinwire.errors import UnavailableError
    from thinwire.rpc import from_problem

    try:
        response = httpx.post(url, json=body, timeout=timeout_s)
        answer: dict[str, Any] = response.json()
    # What is no JSON, or no text at all, is a ValueError.
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise UnavailableError(f"no answer from {url}: {error}") from None
    if not isinstance(answer, dict) or not (response.is_error or "outputs" in answer):
        raise UnavailableError(f"no answer from {url}: what it sent is none of ours")
    if response.is_error:
        raise from_problem(answer.get("error", ""), answer.get("detail", response.text))
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
