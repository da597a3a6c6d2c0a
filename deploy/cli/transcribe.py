"""``thinwire transcribe``: what a sound file says, by a running edge."""

import argparse
import sys
from pathlib import Path
from typing import Any

from deploy.cli.access import client_options
from deploy.cli.client import add_link_options, link_options
from deploy.cli.common import finite, positive, print_json

FORMATS = ("text", "json", "srt", "vtt")


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser("transcribe", help="write down what a sound file says, which crosses the link")
    parser.add_argument("sound", type=Path, metavar="FILE", help="WAV, FLAC, MP3, OGG, M4A or WebM")
    add_link_options(parser)
    add_speech_options(parser)
    parser.add_argument("--temperature", type=finite, metavar="T", help="0 to 1; 0, the default, is the likeliest text")
    parser.add_argument("--timeout", type=positive, metavar="S", help="of the whole, up to 600 s (default: 30)")
    parser.add_argument("--id", help="idempotency key: the same id and seed meet the same noise")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--format", choices=FORMATS, default="text", help="of what is printed (default: %(default)s)")
    form.add_argument("--json", action="store_const", const="json", dest="format", help="the same as --format json")
    parser.set_defaults(run=_run)


def add_speech_options(parser: argparse._ActionsContainer) -> None:
    """How speech is written down."""
    parser.add_argument("--language", metavar="L", help="code or English name of what is spoken (default: found out)")
    parser.add_argument("--prompt", metavar="TEXT", help="taken for what was said before")


def speech_options(options: argparse.Namespace) -> dict[str, Any]:
    """What `add_speech_options` asked for, as the arguments of a `thinwire.Client`."""
    return {"language": options.language, "prompt": options.prompt}


def _run(options: argparse.Namespace) -> None:
    from thinwire.audio.transcript import to_srt, to_text, to_vtt
    from thinwire.client import Client

    with Client(options.url, **client_options(options)) as client:
        answer = client.transcribe(
            options.sound,
            temperature=options.temperature,
            timeout_ms=options.timeout and 1e3 * options.timeout,
            id=options.id,
            **link_options(options),
            **speech_options(options),
        )
    if options.format == "json":
        print_json({"file": str(options.sound)} | answer.model_dump())
        return
    form = {"text": to_text, "srt": to_srt, "vtt": to_vtt}[options.format]
    sys.stdout.write(form(answer.transcript))
    if (link := answer.link) is not None:
        # Beside the text, which may go into a file.
        print(
            f"{answer.duration:.1f} s in {len(answer.windows)} windows: {link.tokens} tokens, "
            f"{link.channel_uses} channel uses",
            file=sys.stderr,
        )
