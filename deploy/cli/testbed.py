"""``thinwire up`` and ``thinwire demo``: the three processes on this machine."""

import argparse
import json
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from deploy.cli.common import SPOKEN, add_bundles, add_json, discard_output, finite, load_bundles, print_json, table
from deploy.ports import OPTIONS, Ports


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the two commands."""
    demo = commands.add_parser("demo", help="classify and ask under several budgets, through three processes")
    add_bundles(demo)
    demo.add_argument("--images", type=Path, metavar="FOLDER", help="your own to classify (default: a cat and others)")
    demo.add_argument("--sound", type=Path, metavar="FILE", help="somebody speaking, to be written down")
    demo.add_argument(
        "--draw",
        type=Path,
        default=Path("merged-tokens.png"),
        metavar="FILE",
        help="PNG to draw the tokens of one photograph into (default: %(default)s)",
    )
    demo.add_argument(
        "--snr", type=finite, default=10.0, metavar="DB", help="of the AWGN channel (default: %(default)s)"
    )
    add_json(demo)
    demo.set_defaults(run=_demo)

    up = commands.add_parser("up", help="run edge, channel and cloud until Ctrl-C")
    add_bundles(up)
    up.add_argument("--model", default="awgn", help="channel model (default: %(default)s)")
    up.add_argument("--csi", default="perfect", help="what receivers know of it (default: %(default)s)")
    snr = up.add_mutually_exclusive_group()
    snr.add_argument("--snr", type=finite, default=10.0, metavar="DB", help="average Es/N0 (default: %(default)s)")
    snr.add_argument("--trace", metavar="FILE", help="CSV of time_s,snr_db[,symbol_rate_hz], repeated")
    up.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="who may ask: lines name:token[:infer,control,metrics], read again when it changes (default: anybody)",
    )
    up.add_argument(
        "--tls", action="store_true", help="TLS everywhere, with certificates of a throw-away authority (needs trustme)"
    )
    ports = up.add_argument_group(
        "ports",
        "0 takes a free one, and --port 0 free ones for all that are not given; a line of JSON on standard output "
        "tells them once all is ready",
    )
    defaults = Ports()
    for name, (option, who) in OPTIONS.items():
        ports.add_argument(
            option, dest=name, type=int, metavar="N", help=f"of {who} (default: {getattr(defaults, name)})"
        )
    up.set_defaults(run=_up)


def _demo(options: argparse.Namespace) -> None:
    from deploy.demo import as_text, photographs, run_demo
    from deploy.token_map import save

    # Nobody speaks in what is installed: what is served by default is left out then.
    silent = [name for name in options.bundle if name != SPOKEN]
    bundles = load_bundles(options.bundle if options.sound else silent or options.bundle)
    images = list(photographs(options.images)) if options.images else None
    rows, drawn = run_demo(bundles, images, options.snr, options.sound)
    if options.json:
        print_json(rows)
    else:
        for bundle in bundles:
            assert bundle.reference is not None
            uses = bundle.reference.channel_uses
            print(f"bundle {bundle.name}, AWGN at {options.snr:g} dB; unmerged, a frame takes {uses} uses")
            print(table([as_text(row) for row in rows if row["bundle"] == bundle.name]), end="\n\n")
        if find_spec("transformers") is None:
            print("questions about a picture need the extra vqa: make demo EXTRAS=vqa")
        if all(bundle.task != "transcription" for bundle in bundles):
            print("speech needs the extra speech and somebody speaking: make demo EXTRAS=speech SOUND=file.wav")
    # Last: a picture that cannot be written costs nobody the answers.
    if drawn is not None:
        save(drawn.png, options.draw)
        print(f"{drawn.text}, drawn in {options.draw}", file=sys.stderr if options.json else sys.stdout)


def _up(options: argparse.Namespace) -> None:
    from deploy.closing import closing
    from deploy.testbed import LocalTestbed

    given = {name: port for name in OPTIONS if (port := getattr(options, name)) is not None}
    ports = Ports(**((dict.fromkeys(OPTIONS, 0) if options.edge_rest == 0 else {}) | given)).settled()
    # Otherwise two processes would say what is wrong with it, after they have loaded torch.
    load_bundles(options.bundle)
    snr = ("--trace", options.trace) if options.trace else ("--snr", str(options.snr))
    channel = ("--model", options.model, "--csi", options.csi, *snr)
    with (
        closing(options.token_file, options.tls) as closed,
        LocalTestbed(options.bundle, ports, channel, closed=closed) as testbed,
    ):
        print(f"edge  {testbed.edge_url}  (docs at /docs)", file=sys.stderr)
        print(f"cloud {testbed.cloud_url}  (docs at /docs)", file=sys.stderr)
        try:
            print(json.dumps(testbed.addresses()), flush=True)
        except OSError:
            # Whoever was to read it is gone, and what runs is there for others.
            discard_output()
        while True:
            testbed.check()
            time.sleep(0.5)
