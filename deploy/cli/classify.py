"""``thinwire classify``: ask a running edge about images."""

import argparse
import base64
from pathlib import Path
from typing import Any

from deploy.cli.common import add_json, finite, positive_int, print_json


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("classify", help="ask a running edge (or cloud) what is in an image")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="of the edge (default: %(default)s)")
    parser.add_argument("--policy", default="auto", help="auto, none, or an id (default: %(default)s)")
    parser.add_argument("--budget-channel-uses", type=positive_int, metavar="N")
    parser.add_argument("--channel", help="channel model of this request (default: the link's own)")
    parser.add_argument("--snr", type=finite, metavar="DB", help="SNR of this request (default: the link's own)")
    parser.add_argument("--seed", type=int, help="seed of the noise")
    parser.add_argument("--top-k", type=positive_int, default=3)
    add_json(parser)
    parser.set_defaults(run=_run)


def request_parameters(options: argparse.Namespace) -> dict[str, Any]:
    """The ``parameters`` of a request, with only what was asked for."""
    channel = {"model": options.channel, "snr_db": options.snr, "seed": options.seed}
    parameters: dict[str, Any] = {"top_k": options.top_k, "policy": options.policy}
    if options.budget_channel_uses is not None:
        parameters["budget"] = {"channel_uses": options.budget_channel_uses}
    if asked := {name: value for name, value in channel.items() if value is not None}:
        parameters["channel"] = asked
    return parameters


def classify(url: str, image: bytes, parameters: dict[str, Any], timeout_s: float = 60.0) -> dict[str, Any]:
    """Send one image to ``POST /v1/classify``.

    Raises:
        UnavailableError: nothing answers at ``url``.
        ThinwireError: what the server found wrong.
    """
    import httpx

    from thinwire.errors import UnavailableError
    from thinwire.rpc import from_problem

    body = {"inputs": base64.b64encode(image).decode(), "parameters": parameters}
    try:
        response = httpx.post(f"{url}/v1/classify", json=body, timeout=timeout_s)
        answer: dict[str, Any] = response.json()
    # What is no JSON, or no text at all, is a ValueError.
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise UnavailableError(f"no answer from {url}: {error}") from None
    if not isinstance(answer, dict) or not (response.is_error or "outputs" in answer):
        raise UnavailableError(f"no answer from {url}: what it sent is none of ours")
    if response.is_error:
        raise from_problem(answer.get("error", ""), answer.get("detail", response.text))
    return answer


def _run(options: argparse.Namespace) -> None:
    from thinwire.errors import InvalidRequestError

    answers = []
    for path in options.images:
        try:
            image = path.read_bytes()
        except OSError as error:
            raise InvalidRequestError(f"cannot read {path}: {error.strerror}") from None
        answer = classify(options.url, image, request_parameters(options))
        answers.append({"image": str(path)} | answer)
        if not options.json:
            labels = ", ".join(f"{output['label']} {output['score']:.2f}" for output in answer["outputs"])
            link = answer["link"]
            cost = f"  ({link['tokens']} tokens, {link['channel_uses']} channel uses)" if link else ""
            print(f"{path}: {labels}{cost}")
    if options.json:
        print_json(answers)
