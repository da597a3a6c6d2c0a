"""``thinwire classify``: ask a running edge about images."""

import argparse
from pathlib import Path

from deploy.cli.client import add_link_options, link_options
from deploy.cli.common import add_json, positive_int, print_json


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("classify", help="ask a running edge (or cloud) what is in an image")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    add_link_options(parser)
    parser.add_argument("--top-k", type=positive_int, default=3)
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from thinwire.client import Client

    answers = []
    with Client(options.url) as client:
        for path in options.images:
            answer = client.classify(path, top_k=options.top_k, **link_options(options))
            answers.append({"image": str(path)} | answer.model_dump())
            if not options.json:
                labels = ", ".join(f"{output.label} {output.score:.2f}" for output in answer.outputs)
                link = answer.link
                cost = f"  ({link.tokens} tokens, {link.channel_uses} channel uses)" if link else ""
                print(f"{path}: {labels}{cost}")
    if options.json:
        print_json(answers)
