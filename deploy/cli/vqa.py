"""``thinwire vqa``: ask a running edge about an image, and the cloud whatever else one wants to know of it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.cli.access import client_options
from deploy.cli.client import add_link_options, link_options
from deploy.cli.common import add_json, finite, positive_int, print_json
from thinwire.addresses import CLOUD_URL

if TYPE_CHECKING:
    from thinwire.rest.schemas import VqaResponse


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("vqa", help="ask questions about an image, which crosses the link once")
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.add_argument("questions", nargs="+", metavar="QUESTION", help="the first goes with the image")
    add_link_options(parser)
    parser.add_argument("--cloud-url", default=CLOUD_URL, help="where the others are asked (default: %(default)s)")
    parser.add_argument("--max-new-tokens", type=positive_int, metavar="N", help="of an answer (default: 16)")
    parser.add_argument("--temperature", type=finite, metavar="T", help="0, the default, takes the likeliest tokens")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from thinwire.client import Client

    generation = {"max_new_tokens": options.max_new_tokens, "temperature": options.temperature}
    first, *others = options.questions
    with Client(options.url, options.cloud_url, **client_options(options)) as client:
        answers = [client.ask(options.image, first, **link_options(options), **generation)]
        if not options.json:
            _show(first, answers[0])
        for question in others:
            answers.append(client.ask(answers[0], question, **generation))
            if not options.json:
                _show(question, answers[-1])
    if options.json:
        answered = zip(options.questions, answers, strict=True)
        print_json([{"question": question} | answer.model_dump() for question, answer in answered])


def _show(question: str, answer: "VqaResponse") -> None:
    link = answer.link
    cost = f"{link.tokens} tokens, {link.channel_uses} channel uses" if link else "no channel use"
    print(f"{question} {answer.answer} {answer.score:.2f}  ({cost})", flush=True)
