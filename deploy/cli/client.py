"""What the commands that ask a running edge or cloud share."""

import argparse
from typing import Any

from deploy.cli.access import add_client_tls
from deploy.cli.common import finite, positive_int
from thinwire.addresses import EDGE_URL


def add_link_options(parser: argparse.ArgumentParser) -> None:
    """Which model answers, and how an image crosses the link."""
    parser.add_argument("--url", default=EDGE_URL, help="of the edge (default: %(default)s)")
    add_client_tls(parser)
    parser.add_argument("--model", metavar="NAME", help="of the bundle that answers (default: the first for this)")
    parser.add_argument("--policy", default="auto", help="auto, none, or an id (default: %(default)s)")
    parser.add_argument("--budget-channel-uses", type=positive_int, metavar="N")
    parser.add_argument("--channel", help="channel model of this request (default: the link's own)")
    parser.add_argument("--csi", help="what the receiver knows of it (default: the link's own)")
    parser.add_argument("--snr", type=finite, metavar="DB", help="SNR of this request (default: the link's own)")
    parser.add_argument("--seed", type=int, help="seed of the noise, which is keyed by the frame's id as well")


def link_options(options: argparse.Namespace) -> dict[str, Any]:
    """What `add_link_options` asked for, as the arguments of a `thinwire.Client`."""
    channel = {"model": options.channel, "snr_db": options.snr, "seed": options.seed, "csi": options.csi}
    asked = {name: value for name, value in channel.items() if value is not None}
    return {
        "model": options.model,
        "policy": options.policy,
        "budget": options.budget_channel_uses,
        "channel": asked or None,
    }
