"""``thinwire classify``: ask a running edge about images."""

import argparse
import base64
from pathlib import Path
from typing import Any

from deploy.cli.client import add_link_options, link_parameters, post, read_image
from deploy.cli.common import add_json, positive_int, print_json


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("classify", help="ask a running edge (or cloud) what is in an image")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    add_link_options(parser)
    parser.add_argument("--top-k", type=positive_int, default=3)
    add_json(parser)
    parser.set_defaults(run=_run)


def classify(url: str, image: bytes, parameters: dict[str, Any]) -> dict[str, Any]:
    """Send one image to ``POST /v1/classify``; raises what `deploy.cli.client.post` does."""
    return post(f"{url}/v1/classify", {"inputs": base64.b64encode(image).decode(), "parameters": parameters})


def _run(options: argparse.Namespace) -> None:
    answers = []
    for path in options.images:
        answer = classify(options.url, read_image(path), {"top_k": options.top_k} | link_parameters(options))
        answers.append({"image": str(path)} | answer)
        if not options.json:
            labels = ", ".join(f"{output['label']} {output['score']:.2f}" for output in answer["outputs"])
            link = answer["link"]
            cost = f"  ({link['tokens']} tokens, {link['channel_uses']} channel uses)" if link else ""
            print(f"{path}: {labels}{cost}")
    if options.json:
        print_json(answers)
