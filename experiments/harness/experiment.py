"""An experiment: one module, one command, one page."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from experiments.harness.report import Report
from experiments.harness.setting import Setting
from policies.files import write_whole
from thinwire.bundle import FRONT, file_sha256, load_bundle
from thinwire.errors import UnavailableError

VERSIONS = ("thinwire", "torch", "numpy", "timm", "transformers", "pillow")


@dataclass(frozen=True)
class Experiment:
    """What is asked, how it is measured, and what that needs.

    Attributes:
        name: a word; of the command's argument and of the files.
        title: heading of its page.
        about: what is asked and how it is measured, in Markdown, with what the paper says of it.
        run: measures.
        bundles: names of the shipped bundles that it measures.
        data: files and folders of the data that it reads.
        packages: what it imports beyond the extra "search", as they are imported.
    """

    name: str
    title: str
    about: str
    run: Callable[[Setting], Report]
    bundles: Sequence[str] = ("cifar10",)
    data: Sequence[str] = ("cifar10-test.tar",)
    packages: Sequence[str] = ()

    def missing(self, data: Path) -> list[str]:
        """What it needs and does not find: files of the data, packages."""
        files = [str(data / name) for name in self.data if not (data / name).exists()]
        return files + [f"the package {name}" for name in self.packages if find_spec(name) is None]

    def identity(self, data: Path, quick: bool, seed: int) -> dict[str, Any]:
        """What its figures depend on, but for the code and the machine."""
        bundles = {name: load_bundle(name) for name in self.bundles}
        files = [path for name in self.data for path in sorted([data / name, *(data / name).glob("*")])]
        return {
            "experiment": self.name,
            "quick": quick,
            "seed": seed,
            "bundles": {name: bundle.digest for name, bundle in bundles.items()},
            # Beyond the digest: the policies and the unmerged reference, which can change under it.
            "fronts": {name: file_sha256(bundle.path(FRONT)) for name, bundle in bundles.items()},
            "references": {name: bundle.reference and asdict(bundle.reference) for name, bundle in bundles.items()},
            "data": {str(path.relative_to(data)): file_sha256(path) for path in files if path.is_file()},
            "versions": {name: version(name) for name in (*VERSIONS, *self._distributions())},
        }

    def _distributions(self) -> list[str]:
        known = packages_distributions()
        return sorted({known[name][0] for name in self.packages})

    def measure(self, data: Path, work: Path, quick: bool = False, seed: int = 0) -> tuple[Report, dict[str, Any]]:
        """Run it, or go on where it was cut off.

        Args:
            data: folder of the data sets.
            work: folder of what outlives a run; each identity has a folder of its own there.
            quick: see `Setting`.
            seed: see `Setting`.

        Returns:
            the report, and what is to be written of it.

        Raises:
            UnavailableError: something that it needs is not there.
        """
        if missing := self.missing(data):
            raise UnavailableError(f"{self.name} needs {', '.join(missing)}")
        identity = self.identity(data, quick, seed)
        stamp = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        folder = work / f"{self.name}-{stamp}"
        folder.mkdir(parents=True, exist_ok=True)
        # Sums over several threads depend on their number.
        torch.set_num_threads(1)
        clock, began = folder / "seconds.json", time.monotonic()
        before = float(json.loads(clock.read_text())) if clock.exists() else 0.0
        try:
            report = self.run(Setting(self.name, data, folder, quick, seed))
        finally:
            seconds = before + time.monotonic() - began
            write_whole(clock, json.dumps(seconds).encode())
        content = {**identity, "command": self.command(quick, seed), "seconds": round(seconds, 1)}
        return report, {**content, **report.to_json()}

    def command(self, quick: bool, seed: int) -> str:
        """What measures it again."""
        options = (" --quick" if quick else "") + (f" --seed {seed}" if seed else "")
        return f"thinwire reproduce {self.name}{options}"
