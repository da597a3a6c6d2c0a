"""``thinwire channel show|set``: the channel of a running testbed, looked at and changed."""

import argparse
import asyncio
from typing import Any

from deploy.cli.access import add_client_tls, link_tls_of
from deploy.cli.common import add_json, finite, print_json, seed, table

TIMEOUT_S = 10.0
# What a profile is made of, by the option's name.
_FIELDS = {
    "model": "model",
    "snr": "snr_db",
    "csi": "csi",
    "seed": "seed",
    "symbol_rate": "symbol_rate_hz",
    "frame_loss": "frame_loss",
    "inject_airtime": "inject_airtime",
}


def add_to(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add both actions to ``thinwire channel``."""
    show = actions.add_parser("show", help="the links of a running channel: what they are like, and what they sent")
    _add_address(show)
    add_json(show)
    show.set_defaults(run=_show)
    change = actions.add_parser("set", help="change a running channel from the next frame on")
    _add_address(change)
    change.add_argument("--link-id", default="", metavar="ID", help="one link alone (default: all without their own)")
    change.add_argument("--model", help="as rician:k_db=3,coherence=16")
    change.add_argument("--snr", type=finite, metavar="DB", help="average Es/N0")
    change.add_argument("--csi", help="of receivers: perfect, none, pilots:count=4,every=16")
    change.add_argument("--seed", type=seed, help="of the keyed noise")
    change.add_argument("--symbol-rate", type=finite, metavar="HZ", help="uses per second")
    change.add_argument("--frame-loss", type=finite, metavar="P", help="probability that a frame is lost")
    change.add_argument("--inject-airtime", action=argparse.BooleanOptionalAction, help="hold frames for their airtime")
    add_json(change)
    change.set_defaults(run=_set)


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--channel",
        default="127.0.0.1:50061",
        metavar="HOST:PORT",
        help="its gRPC address, `link` of what `thinwire up` prints (default: %(default)s)",
    )
    add_client_tls(parser, "of the channel; without it the connection is plain text")


def _show(options: argparse.Namespace) -> None:
    asyncio.run(_shown(options))


async def _shown(options: argparse.Namespace) -> None:
    from thinwire.v1 import control_pb2

    default = await _call(options, "GetProfile", control_pb2.GetProfileRequest())
    links = await _call(options, "ListLinks", control_pb2.ListLinksRequest())
    rows = [{"link": "(default)", **_profile(default), "frames": None, "channel_uses": None}] + [
        {"link": one.link_id, **_profile(one.profile), "frames": one.frames, "channel_uses": one.channel_uses}
        for one in links.links
    ]
    if options.json:
        print_json(rows)
        return
    print(table([{name: "-" if value is None else str(value) for name, value in row.items()} for row in rows]))


def _set(options: argparse.Namespace) -> None:
    from thinwire.errors import InvalidRequestError

    given = {field: value for name, field in _FIELDS.items() if (value := getattr(options, name)) is not None}
    if not given:
        raise InvalidRequestError("nothing to change: name --model, --snr, --csi or another option")
    profile = asyncio.run(_changed(options, given))
    if options.json:
        print_json(_profile(profile))
    else:
        print(", ".join(f"{name} {value}" for name, value in _profile(profile).items()))


async def _changed(options: argparse.Namespace, given: dict[str, Any]) -> Any:
    from thinwire.v1 import control_pb2

    link_id = options.link_id
    profile = await _call(options, "GetProfile", control_pb2.GetProfileRequest(link_id=link_id))
    for name, value in given.items():
        setattr(profile, name, value)
    return await _call(options, "SetProfile", control_pb2.SetProfileRequest(link_id=link_id, profile=profile))


async def _call(options: argparse.Namespace, method: str, request: Any) -> Any:
    import grpc.aio

    from thinwire import rpc
    from thinwire.access.security import bearer, token_of_environment
    from thinwire.v1 import control_pb2_grpc

    tls, shown = link_tls_of(options), bearer(token_of_environment())
    async with rpc.open_channel(options.channel, tls.grpc_credentials() if tls else None) as channel:
        stub: Any = control_pb2_grpc.ChannelControlStub(channel)  # type: ignore[no-untyped-call]
        try:
            return await getattr(stub, method)(request, timeout=TIMEOUT_S, metadata=shown)
        except grpc.aio.AioRpcError as error:
            raise rpc.from_rpc_error(error) from None


def _profile(profile: Any) -> dict[str, Any]:
    return {field: getattr(profile, field) for field in _FIELDS.values()}
