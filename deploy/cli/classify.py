"""``thinwire classify``: ask a running edge about images."""

import argparse
from pathlib import Path

from deploy.cli.access import client_options
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
    parser.add_argument("--draw", type=Path, metavar="FILE", help="PNG to draw the image's merged tokens into")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from thinwire.client import Client
    from thinwire.client.pictures import read_image
    from thinwire.errors import InvalidRequestError, UnavailableError

    if options.id is not None and len(options.images) > 1:
        raise InvalidRequestError(f"--id names one image, got {len(options.images)}")
    if options.draw is not None and len(options.images) > 1:
        raise InvalidRequestError(f"--draw draws one image, got {len(options.images)}")
    answers = []
    with Client(options.url, **client_options(options)) as client:
        for path in options.images:
            image = read_image(path)
            answer = client.classify(
                image,
                top_k=options.top_k,
                id=options.id,
                explain=True if options.draw else None,
                **link_options(options),
            )
            answers.append({"image": str(path)} | answer.model_dump())
            if not options.json:
                labels = ", ".join(f"{output.label} {output.score:.2f}" for output in answer.outputs)
                link = answer.link
                cost = f"  ({link.tokens} tokens, {link.channel_uses} channel uses)" if link else ""
                print(f"{path}: {labels}{cost}")
    if options.json:
        print_json(answers)
    # Last: a picture that cannot be written costs nobody the answer.
    if options.draw is not None:
        from deploy.token_map import save, token_map

        if answer.explain is None:
            raise UnavailableError(f"{options.url} does not explain its answers, so there is nothing to draw")
        save(token_map(image, answer.explain), options.draw)
