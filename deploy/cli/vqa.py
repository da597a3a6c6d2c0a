"""``thinwire vqa``: ask a running edge about an image, and the cloud whatever else one wants to know of it."""

import argparse
import base64
from pathlib import Path
from typing import Any

from deploy.cli.client import add_link_options, base_url, link_parameters, post, read_image
from deploy.cli.common import add_json, finite, positive_int, print_json


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("vqa", help="ask questions about an image, which crosses the link once")
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.add_argument("questions", nargs="+", metavar="QUESTION", help="the first goes with the image")
    add_link_options(parser)
    parser.add_argument(
        "--cloud-url",
        type=base_url,
        default="http://127.0.0.1:8000",
        help="where the others are asked (default: %(default)s)",
    )
    parser.add_argument("--max-new-tokens", type=positive_int, metavar="N", help="of an answer (default: 16)")
    parser.add_argument("--temperature", type=finite, metavar="T", help="0, the default, takes the likeliest tokens")
    add_json(parser)
    parser.set_defaults(run=_run)


def ask(url: str, image: bytes, question: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Send one image and a question to ``POST /v1/vqa``; raises what `deploy.cli.client.post` does."""
    inputs = {"image": base64.b64encode(image).decode(), "question": question}
    return post(f"{url}/v1/vqa", {"inputs": inputs, "parameters": parameters})


def ask_again(cloud_url: str, frame_id: str, question: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Ask about a frame that the cloud holds; raises what `deploy.cli.client.post` does."""
    body = {"inputs": {"question": question}, "parameters": parameters}
    return post(f"{cloud_url}/v1/frames/{frame_id}/questions", body)


def _run(options: argparse.Namespace) -> None:
    generation = {"max_new_tokens": options.max_new_tokens, "temperature": options.temperature}
    generation = {name: value for name, value in generation.items() if value is not None}
    first, *others = options.questions
    answers = [ask(options.url, read_image(options.image), first, link_parameters(options) | generation)]
    if not options.json:
        _show(first, answers[0])
    for question in others:
        answers.append(ask_again(options.cloud_url, answers[0]["id"], question, generation))
        if not options.json:
            _show(question, answers[-1])
    if options.json:
        answered = zip(options.questions, answers, strict=True)
        print_json([{"question": question} | answer for question, answer in answered])


def _show(question: str, answer: dict[str, Any]) -> None:
    said, link = answer["outputs"][0], answer["link"]
    cost = f"{link['tokens']} tokens, {link['channel_uses']} channel uses" if link else "no channel use"
    print(f"{question} {said['answer']} {said['score']:.2f}  ({cost})", flush=True)
