"""What the service adds to a frame: cloud, and channel and cloud, against a bare echo of the same bytes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from deploy.ports import Ports
from experiments.harness.experiment import Experiment
from experiments.harness.in_turn import in_turn, median
from experiments.harness.options import BUNDLE, repeated
from experiments.harness.processes import link_of, running
from experiments.harness.report import Cell, Report, Table
from experiments.harness.setting import Setting
from experiments.service import callers
from experiments.service.bare_echo import METHOD, bare_server

FRAMES = 64


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    bundle, seconds = setting.bundle, setting.options.seconds
    sent = callers.mixed_frames(bundle, FRAMES, 0, received=False)

    def median_ms(address: str, method: str) -> Callable[[], float]:
        return lambda: callers.run(address, method, sent, 1, seconds)[1]

    with (
        bare_server("bare_echo") as echo,
        bare_server("bare_echo", echo) as two,
        bare_server("stub_cloud", str(bundle.folder)) as cloud,
        running(
            [bundle],
            ("--snr", f"{callers.SNR_DB:g}"),
            ("channel",),
            replace(Ports.free(), cloud_grpc=int(cloud.rpartition(":")[2])),
        ) as testbed,
    ):
        parts = {
            "echo": median_ms(echo, METHOD),
            "two echoes": median_ms(two, METHOD),
            "cloud": median_ms(cloud, callers.INFER),
            "channel and cloud": median_ms(link_of(testbed), callers.INFER),
        }
        found = in_turn(parts, setting.options.repetitions)
    timed = ("ms", "times the echo")
    rows: list[dict[str, Cell]] = [
        {"path": name, timed[0]: median(times), timed[1]: median(times / found["echo"])}
        for name, times in found.items()
    ]
    size = float(np.mean([frame.ByteSize() for frame in sent]))
    return Report([Table(f"Frames of {size:.0f} bytes on average", rows, {"ms": 3, timed[1]: 2}, timed)])


EXPERIMENT = Experiment(
    name="overhead",
    title="What the service costs per frame",
    about="""
Frames go one after the other through the channel's process, which applies noise, to the cloud's, whose model does
nothing; in turn with that to the cloud alone, to a `grpc.aio` server that answers with the bytes that came, and through
another that passes them on to it, which is what two hops cost by themselves. All are processes of their own, called by
the same caller; figures are medians of each repetition's median.
""",
    run=run,
    data=(),
    packages=("grpc",),
    options=BUNDLE | repeated(15, 1.0),
)
