"""What the service adds to a frame: cloud, and channel and cloud, against a bare echo of the same bytes.

``python -m experiments.speed.overhead`` sends frames one after the other through the channel's process, which applies noise,
to the cloud's, whose model does nothing; in turn with that to the cloud alone, to a ``grpc.aio`` server that answers
with the bytes that came, and through another that passes them on to it, which is what two hops cost by themselves. All
are processes of their own, called by the same caller.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from deploy.cli.common import add_bundle, table
from deploy.testbed import HOST, LocalTestbed, Ports
from experiments.harness import in_turn as measuring
from experiments.speed import load
from experiments.speed.echo import METHOD, MODULE, BareServer
from thinwire.bundle import Bundle, load_bundle

FRAMES = 64


def run(bundle: Bundle, repetitions: int, seconds: float) -> dict[str, Any]:
    """Measure.

    Returns:
        for ``echo``, ``two echoes``, ``cloud`` and ``channel`` (which forwards to the cloud) summaries of the median
        latency of each repetition in milliseconds, and of its ratio to the echo's.
    """
    sent = load.mixed_frames(bundle, FRAMES, 0, received=False)
    ports = Ports.free()
    cloud, channel = f"{HOST}:{ports.cloud_grpc}", f"{HOST}:{ports.channel_grpc}"

    def median_ms(address: str, method: str) -> Callable[[], float]:
        return lambda: float(np.median(load.run(address, method, sent, 1, seconds).latencies_ms))

    with TemporaryDirectory() as folder, ExitStack() as stack:
        log = stack.enter_context((Path(folder) / "cloud.log").open("wb"))
        echo = stack.enter_context(BareServer(MODULE))
        two = stack.enter_context(BareServer(MODULE, echo.address))
        command = [sys.executable, "-m", "experiments.speed.stub_cloud", str(bundle.folder), cloud]
        stub = subprocess.Popen(command, stderr=log)
        try:
            # The channel is ready once it reaches the cloud.
            with LocalTestbed([], ports, ("--snr", f"{load.SNR_DB:g}"), Path(folder), ("channel",)):
                found = measuring.in_turn(
                    {
                        "echo": median_ms(echo.address, METHOD),
                        "two echoes": median_ms(two.address, METHOD),
                        "cloud": median_ms(cloud, load.INFER),
                        "channel": median_ms(channel, load.INFER),
                    },
                    repetitions,
                )
        finally:
            stub.terminate()
            stub.wait()
    echoed = np.array(found["echo"])
    return {
        "bundle": bundle.name,
        "bytes": float(np.mean([frame.ByteSize() for frame in sent])),
        "latency_ms": {name: measuring.summary(times) for name, times in found.items()},
        "ratio": {name: measuring.summary(np.array(times) / echoed) for name, times in found.items()},
    }


def as_text(result: dict[str, Any]) -> str:
    """One table: a row per path."""
    return table(
        [
            {
                "path": name,
                "ms": measuring.text(result["latency_ms"][name], 3),
                "times the echo": measuring.text(result["ratio"][name]),
            }
            for name in result["ratio"]
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_bundle(parser)
    measuring.add_options(parser, repetitions=15, seconds=1.0)
    options = parser.parse_args(arguments)
    result = run(load_bundle(options.bundle), options.repetitions, options.seconds)
    measuring.write(options.json, result)
    print(as_text(result))


if __name__ == "__main__":
    main()
