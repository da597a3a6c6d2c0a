"""Memory of each process, time from its start to the edge's first answer, and sizes of the images.

``python -m experiments.speed.footprint`` starts the testbed several times, the edge last: its clock runs from the start of its
process until the first request is answered. Memory is what the kernel counts as resident (Linux only), at the most,
after the requests. Images are those of ``docker compose build``, where a Docker engine has them.
"""

import argparse
import json
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np

from deploy.cli.common import DEFAULT_BUNDLES, table
from deploy.testbed import LocalTestbed, Ports
from experiments.speed.budgets import png
from thinwire.bundle import Bundle, load_bundle

PROCESSES = ("edge", "channel", "cloud")
REQUESTS = 50
GIVE_UP_S = 60.0


def resident_mib(pid: int) -> float:
    """The most memory that a process has had resident, in MiB (``VmHWM`` of Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _asks(bundles: Sequence[Bundle], url: str) -> list[tuple[str, dict[str, Any]]]:
    """A request for each task: the address, and what goes with it."""
    asks = []
    for bundle in bundles:
        size = bundle.preprocessing.size
        image = png(np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8))
        form: dict[str, Any] = {"files": {"image": ("a.png", image, "image/png")}, "timeout": 10}
        if bundle.task == "vqa":
            form["data"] = {"question": "what is in the image?"}
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


def run_once(bundles: Sequence[Bundle]) -> dict[str, float]:
    """One start of all three: ``first_answer_s`` of the edge, and MiB of each process."""
    folders = [str(bundle.folder) for bundle in bundles]
    with (
        TemporaryDirectory() as logs,
        httpx.Client() as client,
        LocalTestbed(folders, Ports.free(), (), Path(logs), ("cloud", "channel")) as testbed,
    ):
        started = time.perf_counter()
        testbed.start("edge")
        asks = _asks(bundles, testbed.edge_url)
        first = _first_answer_s(client, *asks[0], started)
        for _ in range(REQUESTS):
            for url, form in asks:
                client.post(url, **form).raise_for_status()
        return {"first_answer_s": first} | {name: resident_mib(testbed.pid(name)) for name in PROCESSES}


def image_mib(name: str) -> float | None:
    """Size of ``thinwire-NAME`` in MiB; None where there is no engine or no such image."""
    if shutil.which("docker") is None:
        return None
    command = ["docker", "image", "inspect", "--format", "{{.Size}}", f"thinwire-{name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return int(done.stdout) / 2**20 if done.returncode == 0 else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, and print or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", nargs="+", default=list(DEFAULT_BUNDLES), help="each alone, then all together")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write JSON there")
    options = parser.parse_args(arguments)
    bundles = [load_bundle(name) for name in options.bundle]
    sets = [[one] for one in bundles] + ([bundles] if len(bundles) > 1 else [])
    rows = []
    for chosen in sets:
        runs = [run_once(chosen) for _ in range(options.repetitions)]
        figures = {key: [one[key] for one in runs] for key in runs[0]}
        rows.append(
            {
                "bundles": [bundle.name for bundle in chosen],
                "median": {key: float(np.median(values)) for key, values in figures.items()},
                "largest": {key: max(values) for key, values in figures.items()},
            }
        )
    result = {"rows": rows, "image_mib": {name: image_mib(name) for name in PROCESSES}}
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    print(table([_as_text(row) for row in rows]))
    for name, size in result["image_mib"].items():
        print(f"image of {name}: {'not built here' if size is None else f'{size:.0f} MiB'}")


def _as_text(row: dict[str, Any]) -> dict[str, str]:
    median, largest = row["median"], row["largest"]
    return {
        "bundles": " ".join(row["bundles"]),
        "first answer, s": f"{median['first_answer_s']:.2f} (at most {largest['first_answer_s']:.2f})",
        **{f"{name}, MiB": f"{median[name]:.0f}" for name in PROCESSES},
    }


if __name__ == "__main__":
    main()
