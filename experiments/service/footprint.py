"""Memory of each process, time from its start to the edge's first answer, and sizes of the images."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from deploy.cli.common import DEFAULT_BUNDLES
from experiments.harness.experiment import Experiment
from experiments.harness.in_turn import in_turn
from experiments.harness.options import Option, repeated
from experiments.harness.processes import LINK, running
from experiments.harness.report import Cell, Interval, Report, Table
from experiments.harness.setting import Setting
from thinwire.bundle import Bundle, load_bundle
from thinwire.images import to_png

PROCESSES = ("edge", "channel", "cloud")
REQUESTS = 50
GIVE_UP_S = 60.0
FIRST = "first answer, s"
# What a machine without other work would show at the least.
PROCESSOR = "processor time to it, s"
# What is a process's own, and what the kernel can drop and read again: programs, and weights that are mapped.
PARTS = {"anonymous": "RssAnon", "mapped": "RssFile"}


def memory_mib(pid: int, field: str) -> float:
    """Memory of a process in MiB, by a field of Linux's ``/proc/PID/status``."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


def processor_s(pid: int) -> float:
    """Processor time of a process in seconds, by Linux's ``/proc/PID/stat``."""
    # Behind the name, which may hold anything, in parentheses.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _asks(bundles: Sequence[Bundle], url: str) -> list[tuple[str, dict[str, Any]]]:
    """A request for each bundle: the address, and what goes with it."""
    asks = []
    for bundle in bundles:
        size = bundle.preprocessing.size
        image = to_png(np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8))
        form: dict[str, Any] = {"files": {"image": ("a.png", image, "image/png")}, "timeout": 10}
        form["data"] = {"parameters": json.dumps({"model": bundle.name})}
        if bundle.task == "vqa":
            form["data"]["question"] = "what is in the image?"
        asks.append((f"{url}/v1/{bundle.task}", form))
    return asks


def _first_answer_s(client: httpx.Client, url: str, form: dict[str, Any], started: float) -> float:
    while time.perf_counter() - started < GIVE_UP_S:
        try:
            if client.post(url, **form).status_code == 200:
                return time.perf_counter() - started
        except httpx.TransportError:
            pass
        time.sleep(0.01)
    raise TimeoutError(f"no answer from {url} within {GIVE_UP_S:g} s")


def _start(bundles: Sequence[Bundle]) -> dict[str, float]:
    """One start of all three: the edge's first answer, and MiB of each process."""
    with running(bundles, processes=LINK) as testbed, httpx.Client() as client:
        started = time.perf_counter()
        testbed.start("edge")
        asks = _asks(bundles, testbed.edge_url)
        first = _first_answer_s(client, *asks[0], started)
        processor = processor_s(testbed.pid("edge"))
        for _ in range(REQUESTS):
            for url, form in asks:
                client.post(url, **form).raise_for_status()
        parts = {f"edge, {what}, MiB": memory_mib(testbed.pid("edge"), field) for what, field in PARTS.items()}
        return (
            {FIRST: first, PROCESSOR: processor}
            | parts
            | {f"{name}, MiB": memory_mib(testbed.pid(name), "VmHWM") for name in PROCESSES}
        )


def image_mib(name: str) -> float | None:
    """Size of ``thinwire-NAME`` in MiB; None where there is no engine or no such image."""
    if shutil.which("docker") is None:
        return None
    command = ["docker", "image", "inspect", "--format", "{{.Size}}", f"thinwire-{name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout) / 2**20 if done.returncode == 0 else None


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    bundles = [load_bundle(name) for name in setting.options.bundle]
    sets = [[one] for one in bundles] + ([bundles] if len(bundles) > 1 else [])
    parts = {" ".join(one.name for one in chosen): partial(_start, chosen) for chosen in sets}
    rows: list[dict[str, Cell]] = []
    for name, found in in_turn(parts, setting.options.repetitions, warm_up=0).items():
        row: dict[str, Cell] = {"bundles": name}
        for key in found[0]:
            values = [one[key] for one in found]
            row[key] = Interval(float(np.median(values)), min(values), max(values))
        rows.append(row)
    timed = [key for key in rows[0] if key != "bundles"]
    digits = {key: 2 if key in (FIRST, PROCESSOR) else 0 for key in timed}
    images: list[dict[str, Cell]] = [{"image": name, "MiB": image_mib(name)} for name in PROCESSES]
    return Report(
        [Table("Medians and ranges of the starts", rows, digits, timed), Table("Images", images, {"MiB": 0}, ("MiB",))]
    )


EXPERIMENT = Experiment(
    name="footprint",
    title="Memory, time to the first answer, sizes of the images",
    about="""
The testbed is started several times, the edge last: its clock runs from the start of its process until the first
request is answered, beside the processor time that this process took until then. Memory is what the kernel counts as
resident (Linux only), at the most, after the requests; the edge's anonymous and mapped memory are those at the end.
Images are those of `docker compose build`, where a Docker engine has them.
""",
    run=run,
    data=(),
    packages=("httpx",),
    options={"bundle": Option(list(DEFAULT_BUNDLES), "each alone, then all together")} | repeated(5),
)
