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
    parser.add_argument(
        "--id",
        help="idempotency key of an image: the same id and seed meet the same noise (default: a random one for each)",
    )
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from thinwire.client import Client
    from thinwire.errors import InvalidRequestError

    if options.id is not None and len(options.images) > 1:
        raise InvalidRequestError(f"--id names one image, got {len(options.images)}")
    answers = []
    with Client(options.url) as client:
        for path in options.images:
            answer = client.classify(path, top_k=options.top_k, id=options.id, **link_options(options))
            answers.append({"image": str(path)} | answer.model_dump())
            if not options.json:
                labels = ", ".join(f"{output.label} {output.score:.2f}" for output in answer.outputs)
                link = answer.link
                cost = f"  ({link.tokens} tokens, {link.channel_uses} channel uses)" if link else ""
                print(f"{path}: {labels}{cost}")
    if options.json:
        print_json(answers)
