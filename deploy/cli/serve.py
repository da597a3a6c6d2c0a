"""``thinwire edge|channel|cloud serve``: one process of the three."""

import argparse
import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.cli import channel_control
from deploy.cli.access import add_access, security_of
from deploy.cli.common import add_bundles, add_placement, finite, load_bundles, placement_of, positive, positive_int
from thinwire.cores import model_threads

if TYPE_CHECKING:
    from cloud.server import Model
    from thinwire.bundle import Bundle

_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://(\[[0-9a-f:]+\]|[^\s/:@?#A-Z*]+)(:\d+)?")


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the three commands."""
    edge = _serve(commands, "edge", "the device: REST gateway and engine")
    add_bundles(edge, with_cloud=False)
    edge.add_argument("--link", default="127.0.0.1:50061", metavar="HOST:PORT", help="the channel, or the cloud itself")
    edge.add_argument("--link-id", default="edge", help="this device's name on the link (default: %(default)s)")
    _add_rest(edge, 8080)
    edge.add_argument(
        "--grpc", default="127.0.0.1:8081", metavar="HOST:PORT", help="gRPC health (default: %(default)s)"
    )
    edge.add_argument("--nominal-snr", type=finite, default=10.0, metavar="DB", help="assumed until the link tells")
    edge.add_argument(
        "--nominal-symbol-rate", type=positive, default=1e4, metavar="HZ", help="likewise (default: 10,000)"
    )
    edge.add_argument("--nominal-model", default="awgn", metavar="MODEL", help="likewise (default: %(default)s)")
    edge.add_argument("--nominal-csi", default="perfect", metavar="CSI", help="likewise (default: %(default)s)")
    _add_engine(edge, 1)
    add_access(edge, "the channel")
    edge.set_defaults(run=_edge)

    actions = _actions(commands, "channel", "the simulated channel")
    channel = actions.add_parser("serve", help="run the simulated channel until SIGTERM")
    channel.add_argument("--upstream", default="127.0.0.1:50051", metavar="HOST:PORT", help="the cloud's gRPC address")
    channel.add_argument("--listen", default="127.0.0.1:50061", metavar="HOST:PORT")
    channel.add_argument("--metrics-port", type=int, metavar="PORT", help="of /metrics, on the host of --listen")
    channel.add_argument(
        "--model", default="awgn", help="as rician:k_db=3,coherence=16; see docs/channels.md (default: %(default)s)"
    )
    channel.add_argument(
        "--csi", default="perfect", help="of receivers: perfect, none, pilots:count=4,every=16 (default: %(default)s)"
    )
    snr = channel.add_mutually_exclusive_group()
    snr.add_argument("--snr", type=finite, default=10.0, metavar="DB", help="average Es/N0 (default: %(default)s)")
    snr.add_argument("--trace", type=Path, metavar="FILE", help="CSV of time_s,snr_db[,symbol_rate_hz], repeated")
    channel.add_argument("--seed", type=int, default=0, help="of the keyed noise (default: %(default)s)")
    channel.add_argument(
        "--symbol-rate", type=finite, default=1e4, metavar="HZ", help="uses per second (default: 10,000)"
    )
    channel.add_argument("--inject-airtime", action="store_true", help="hold frames for their airtime")
    channel.add_argument(
        "--frame-loss", type=finite, default=0.0, metavar="P", help="probability that a frame is lost (default: 0)"
    )
    add_access(channel, "the cloud")
    channel.set_defaults(run=_channel)
    record = actions.add_parser("record", help="record a fade as a trace for --trace")
    record.add_argument("--output", type=Path, required=True, metavar="FILE", help="the CSV to write")
    record.add_argument("--mean-snr", type=finite, required=True, metavar="DB", help="Es/N0 at the fade's mean power")
    record.add_argument("--doppler", type=finite, required=True, metavar="HZ", help="largest Doppler shift")
    record.add_argument("--step", type=finite, required=True, metavar="S", help="seconds between rows")
    record.add_argument("--length", type=finite, required=True, metavar="S", help="seconds until it repeats")
    record.add_argument("--seed", type=int, required=True, metavar="N", help="of the fade")
    record.set_defaults(run=_record)
    channel_control.add_to(actions)

    cloud = _serve(commands, "cloud", "the server: decoder, head, REST of the plain model")
    add_bundles(cloud)
    cloud.add_argument("--grpc", default="127.0.0.1:50051", metavar="HOST:PORT", help="the link (default: %(default)s)")
    _add_rest(cloud, 8000)
    _add_engine(cloud, model_threads())
    cloud.add_argument("--equaliser", choices=("mmse", "zf"), default="mmse", help="(default: %(default)s)")
    _add_language(cloud)
    add_access(cloud)
    cloud.set_defaults(run=_cloud)


def _add_rest(parser: argparse.ArgumentParser, port: int) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="of REST (default: %(default)s)")
    parser.add_argument("--port", type=int, default=port, help="of REST (default: %(default)s)")
    parser.add_argument(
        "--keep-alive",
        type=positive_int,
        default=75,
        metavar="SECONDS",
        help="idle time before a connection of REST is closed; more than your load balancer's (default: %(default)s)",
    )
    parser.add_argument(
        "--cors-origin",
        type=_origin,
        action="extend",
        nargs="+",
        default=[],
        metavar="ORIGIN",
        help="whose pages may ask in a browser, as https://example.org, or * for all (default: none)",
    )


def _origin(text: str) -> str:
    # What is not as browsers send it would never match, without a word.
    is_default = text.startswith("http://") and text.endswith(":80")
    is_default |= text.startswith("https://") and text.endswith(":443")
    if is_default or not _ORIGIN.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"got {text!r}, expected scheme://host[:port] in lower case, without a path or the scheme's own port, or *"
        )
    return text


def _add_engine(parser: argparse.ArgumentParser, threads: int) -> None:
    parser.add_argument(
        "--engine",
        default="auto",
        choices=("auto", "onnx", "torch"),
        help="what computes; auto: ONNX Runtime where it is installed and the bundle was exported, else torch",
    )
    parser.add_argument("--threads", type=positive_int, default=threads, help="that compute (default: %(default)s)")


def _add_language(cloud: argparse.ArgumentParser) -> None:
    group = cloud.add_argument_group("questions and speech", "for bundles of the tasks vqa and transcription")
    add_placement(group)
    group.add_argument(
        "--held-frames",
        type=positive_int,
        default=256,
        metavar="N",
        help="kept to be asked about again (default: 256)",
    )
    group.add_argument(
        "--held-seconds", type=positive, default=600.0, metavar="S", help="how long they are kept (default: 600)"
    )
    group.add_argument(
        "--held-mib", type=positive_int, default=1024, metavar="MIB", help="most memory that they take (default: 1024)"
    )


def _serve(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, description: str
) -> argparse.ArgumentParser:
    return _actions(commands, name, description).add_parser("serve", help=f"run {description} until SIGTERM")


def _actions(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, description: str
) -> "argparse._SubParsersAction[argparse.ArgumentParser]":
    return commands.add_parser(name, help=description).add_subparsers(required=True, metavar="ACTION")


def _edge(options: argparse.Namespace) -> None:
    from thinwire import logs, tracing

    logs.configure("edge")
    bundles = load_bundles(options.bundle)
    from deploy.cli.engines import edge_engine
    from edge.server import Settings, serve
    from thinwire.channels import Channel
    from thinwire.csi import Csi

    settings = Settings(
        link_target=options.link,
        link_id=options.link_id,
        nominal=Channel(options.nominal_model, options.nominal_snr, Csi.parse(options.nominal_csi)),
        nominal_symbol_rate_hz=options.nominal_symbol_rate,
        rest_host=options.host,
        rest_port=options.port,
        grpc_address=options.grpc,
        keep_alive_s=options.keep_alive,
        cors_origins=tuple(options.cors_origin),
        security=security_of(options),
    )
    with tracing.exporting("edge"):
        asyncio.run(
            serve([(bundle, edge_engine(bundle, options.engine, options.threads)) for bundle in bundles], settings)
        )


def _channel(options: argparse.Namespace) -> None:
    from channel.profiles import Profile
    from channel.server import Settings, serve
    from channel.trace import Trace
    from thinwire import logs, tracing
    from thinwire.csi import Csi

    logs.configure("channel")
    profile = Profile(
        model=options.model,
        snr_db=options.snr,
        seed=options.seed,
        symbol_rate_hz=options.symbol_rate,
        inject_airtime=options.inject_airtime,
        frame_loss=options.frame_loss,
        csi=Csi.parse(options.csi),
    )
    trace = Trace.read(options.trace) if options.trace else None
    settings = Settings(
        upstream=options.upstream,
        listen=options.listen,
        profile=profile,
        trace=trace,
        metrics_port=options.metrics_port,
        security=security_of(options),
    )
    with tracing.exporting("channel"):
        asyncio.run(serve(settings))


def _record(options: argparse.Namespace) -> None:
    from channel.fade import record

    trace = record(
        mean_snr_db=options.mean_snr,
        doppler_hz=options.doppler,
        step_s=options.step,
        length_s=options.length,
        seed=options.seed,
    )
    trace.write(options.output)


def _cloud(options: argparse.Namespace) -> None:
    from thinwire import logs, tracing

    logs.configure("cloud")
    bundles = load_bundles(options.bundle)
    from cloud.server import Settings, serve

    settings = Settings(
        grpc_address=options.grpc,
        rest_host=options.host,
        rest_port=options.port,
        held_frames=options.held_frames,
        held_s=options.held_seconds,
        held_bytes=options.held_mib * 2**20,
        equaliser=options.equaliser,
        keep_alive_s=options.keep_alive,
        cors_origins=tuple(options.cors_origin),
        security=security_of(options),
    )
    with tracing.exporting("cloud"):
        asyncio.run(serve([(bundle, _cloud_model(bundle, options)) for bundle in bundles], settings))


def _cloud_model(bundle: "Bundle", options: argparse.Namespace) -> "Model":
    if bundle.task != "classify":
        # Only here: torch and transformers take their seconds.
        import torch

        torch.set_num_threads(options.threads)
    if bundle.task == "vqa":
        from cloud.torch_answerer import TorchAnswerer

        return TorchAnswerer.load(bundle, placement_of(options))
    if bundle.task == "transcription":
        from cloud.torch_transcriber import TorchTranscriber

        return TorchTranscriber.load(bundle, placement_of(options))
    from deploy.cli.engines import cloud_classifier

    return cloud_classifier(bundle, options.engine, options.threads)
