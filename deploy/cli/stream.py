"""``thinwire stream``: the frames of a video, one after the other, or sound as it comes, through a running edge."""

import argparse
import json
from collections.abc import Iterable
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.cli.access import client_options
from deploy.cli.client import add_link_options, link_options
from deploy.cli.common import add_json, positive, positive_int
from deploy.cli.stream_sound import EVERY_S, is_sound
from deploy.cli.stream_sound import run as run_sound
from deploy.cli.transcribe import add_speech_options

if TYPE_CHECKING:
    from deploy.streaming import Seen, Tally

# So many frames lost in a row, and the stream ends.
GIVE_UP = 10
OVERLAP = 4
SUMMARY = (
    "{frames} frames ({lost} lost), {frames_per_second:.1f} a second; "
    "time to answer {median_ms:.1f} ms, p95 {p95_ms:.1f}; "
    "{channel_uses_mean:.1f} uses a frame, {channel_uses_per_second:.0f} a second; "
    "policy switches: {policy_switches}"
)

# A frame's number, and the parameters that count from there on.
Switch = tuple[int, dict[str, Any]]


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "stream",
        help="send a video, images one after the other, or sound as it comes, through a running edge",
        description="Several frames of pictures are under way at once, and answers come in order. A frame that is lost "
        f"is told and not sent again; {GIVE_UP} in a row end the stream. Ctrl-C ends it with the summary. Sound is "
        "written down window by window, as much as the model hears at once; what came so far of a window is sent and "
        "written down every second, and the whole of it in the end.",
    )
    parser.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="SOURCE",
        help="a video (extra: video), an image, a folder of images; a sound file; or -: sound on standard input, a WAV "
        "or raw, of one channel at 16 kHz in int16",
    )
    add_link_options(parser)
    sound = parser.add_argument_group("sound")
    add_speech_options(sound)
    sound.add_argument(
        "--every",
        type=positive,
        metavar="S",
        help=f"seconds of new sound between partial results, each of which is a frame (default: {EVERY_S:g})",
    )
    pictures = parser.add_argument_group("pictures")
    pictures.add_argument(
        "--switch",
        action="append",
        default=[],
        type=switch,
        metavar="K:WHAT",
        help="from frame K on another budget (a number of channel uses) or policy (auto, none, or an id); repeatable",
    )
    pictures.add_argument(
        "--fps", type=positive, metavar="F", help="frames to send a second (default: as fast as it goes)"
    )
    pictures.add_argument("--overlap", type=positive_int, metavar="N", help=f"under way at once (default: {OVERLAP})")
    pictures.add_argument("--limit", type=positive_int, metavar="N", help="stop after so many frames")
    add_json(parser)
    parser.set_defaults(run=_run)


def switch(text: str) -> Switch:
    """``K:WHAT`` as a frame's number and the parameters from there on, for argparse."""
    frame, _, what = text.partition(":")
    if not frame.isdecimal() or not what:
        raise argparse.ArgumentTypeError(f"must be FRAME:USES or FRAME:POLICY, got {text!r}")
    if what.isdecimal():
        return int(frame), {"policy": "auto", "budget": int(what)}
    return int(frame), {"policy": what}


def options_at(number: int, first: dict[str, Any], switches: Iterable[Switch]) -> dict[str, Any]:
    """Options of a frame: ``first``, with what the last switch up to there puts in place of policy and budget."""
    past = [(frame, what) for frame, what in switches if frame <= number]
    if not past:
        return first
    return first | {"budget": None} | max(past, key=lambda one: one[0])[1]


def _run(options: argparse.Namespace) -> None:
    if any(is_sound(source) for source in options.sources):
        run_sound(options, GIVE_UP)
        return
    _check_pictures(options)
    import asyncio

    from deploy.streaming import Tally

    tally = Tally()
    try:
        asyncio.run(_stream(options, tally))
    finally:
        # After an error and after Ctrl-C, too: what was answered stays.
        if (figures := tally.figures()) is not None:
            print(json.dumps({"summary": figures}) if options.json else SUMMARY.format(**figures))


def _check_pictures(options: argparse.Namespace) -> None:
    from thinwire.errors import InvalidRequestError

    for name in ("language", "prompt", "every"):
        if getattr(options, name):
            raise InvalidRequestError(f"--{name} is of sound, and {options.sources[0]} is none")


async def _stream(options: argparse.Namespace, tally: "Tally") -> None:
    from deploy.pictures import Picture, pictures_of
    from thinwire.client import AsyncClient, in_order
    from thinwire.errors import DeadlineError, FrameLostError, OverloadedError, ThinwireError, UnavailableError
    from thinwire.rest.schemas import ClassifyResponse

    first = link_options(options)
    async with AsyncClient(options.url, **client_options(options)) as client:

        async def ask(number: int, picture: Picture) -> ClassifyResponse | ThinwireError:
            try:
                return await client.classify(picture.data, top_k=1, **options_at(number, first, options.switch))
            except (DeadlineError, FrameLostError, OverloadedError, UnavailableError) as error:
                return error
            except ThinwireError as error:
                raise type(error)(f"frame {number} ({picture.name}): {error}") from error

        lost_in_a_row = 0
        pictures = islice(pictures_of(options.sources), options.limit)
        async with aclosing(in_order(pictures, ask, options.overlap or OVERLAP, options.fps)) as answers:
            async for answered in answers:
                answer = answered.answer
                lost_in_a_row = lost_in_a_row + 1 if isinstance(answer, ThinwireError) else 0
                nobody = tally.figures() is None and isinstance(answer, UnavailableError)
                if nobody or lost_in_a_row == GIVE_UP:
                    raise UnavailableError(f"frame {answered.number} ({answered.item.name}): {answer}")
                tally.add(answered)
                print(_line(answered, options.json), flush=True)
    if lost_in_a_row and tally.figures() is None:
        raise UnavailableError("no frame was answered")


def _line(answered: "Seen", as_json: bool) -> str:
    from thinwire.errors import ThinwireError

    answer, milliseconds = answered.answer, answered.milliseconds
    place = {"frame": answered.number, "picture": answered.item.name, "time_to_answer_ms": milliseconds}
    if isinstance(answer, ThinwireError):
        if as_json:
            return json.dumps(place | {"error": answer.code, "detail": answer.detail})
        return f"{answered.number:6}  lost: {answer.code}: {answer.detail}"
    if as_json:
        return json.dumps(place | answer.model_dump())
    said, link = f"{answered.number:6}  {answer.label:12} {answer.score:.2f}", answer.link
    cost = "plain"
    if link and answer.policy:
        cost = f"{answer.policy.id:12}  {link.tokens:3} tokens  {link.channel_uses:4} uses"
    return f"{said}  {cost}  {milliseconds:7.1f} ms"
