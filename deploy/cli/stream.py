"""``thinwire stream``: the frames of a video, one after the other, through a running edge."""

import argparse
import json
from collections.abc import Iterable
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.cli.client import add_link_options, link_options
from deploy.cli.common import add_json, positive, positive_int

if TYPE_CHECKING:
    from deploy.streaming import Seen, Tally

# So many frames lost in a row, and the stream ends.
GIVE_UP = 10
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
        help="send a video, or images one after the other, through a running edge",
        description="Several frames are under way at once, and answers come in order. A frame that is lost is told and "
        f"not sent again; {GIVE_UP} in a row end the stream. Ctrl-C ends it with the summary.",
    )
    parser.add_argument(
        "sources", nargs="+", type=Path, metavar="SOURCE", help="a video (extra: video), an image, a folder of images"
    )
    add_link_options(parser)
    parser.add_argument(
        "--switch",
        action="append",
        default=[],
        type=switch,
        metavar="K:WHAT",
        help="from frame K on another budget (a number of channel uses) or policy (auto, none, or an id); repeatable",
    )
    parser.add_argument(
        "--fps", type=positive, metavar="F", help="frames to send a second (default: as fast as it goes)"
    )
    parser.add_argument("--overlap", type=positive_int, default=4, metavar="N", help="under way at once (default: 4)")
    parser.add_argument("--limit", type=positive_int, metavar="N", help="stop after so many frames")
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
    import asyncio

    from deploy.streaming import Tally

    tally = Tally()
    try:
        asyncio.run(_stream(options, tally))
    finally:
        # After an error and after Ctrl-C, too: what was answered stays.
        if (figures := tally.figures()) is not None:
            print(json.dumps({"summary": figures}) if options.json else SUMMARY.format(**figures))


async def _stream(options: argparse.Namespace, tally: "Tally") -> None:
    from deploy.pictures import Picture, pictures_of
    from thinwire.client import AsyncClient, in_order
    from thinwire.errors import DeadlineError, FrameLostError, OverloadedError, ThinwireError, UnavailableError
    from thinwire.rest.schemas import ClassifyResponse

    first = link_options(options)
    async with AsyncClient(options.url) as client:

        async def ask(number: int, picture: Picture) -> ClassifyResponse | ThinwireError:
            try:
                return await client.classify(picture.data, top_k=1, **options_at(number, first, options.switch))
            except (DeadlineError, FrameLostError, OverloadedError, UnavailableError) as error:
                return error
            except ThinwireError as error:
                raise type(error)(f"frame {number} ({picture.name}): {error}") from error

        lost_in_a_row = 0
        pictures = islice(pictures_of(options.sources), options.limit)
        async with aclosing(in_order(pictures, ask, options.overlap, options.fps)) as answers:
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
