"""An experiment: one module, one command, one page."""

import hashlib
import json
import platform
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from experiments.harness.options import Options, as_arguments, parse
from experiments.harness.report import Report
from experiments.harness.setting import TEST, Setting, beside, data_set, located
from policies.files import write_whole
from thinwire.bundle import FRONT, Bundle, file_sha256, load_bundle
from thinwire.cores import usable_cores
from thinwire.errors import BundleError, UnavailableError

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
        data: files and folders of the data that it reads; `TEST` and `TRAIN` stand for those of its bundle's images.
        packages: what it imports beyond the extra "search", as they are imported.
        options: what else it can be asked to do. One that is called "bundle" says what it measures; where it is of
            several bundles, whose names begin alike, the others are found by what their names have beyond the first's.
    """

    name: str
    title: str
    about: str
    run: Callable[[Setting], Report]
    bundles: Sequence[str] = ("cifar10",)
    data: Sequence[str] = (TEST,)
    packages: Sequence[str] = ()
    options: Options = field(default_factory=dict)

    def page(self, bundle: Any = None) -> str:
        """Name of its files: its own, and behind that the name of a bundle that is not its usual one."""
        usual = bundle is None or bundle == self.options["bundle"].default
        return self.name if usual or not isinstance(bundle, str) else f"{self.name}-{load_bundle(bundle).name}"

    def _bundles(self, given: Namespace) -> list[Bundle]:
        chosen = getattr(given, "bundle", None)
        if isinstance(chosen, str):
            chosen = beside(chosen, self.bundles) if self.bundles else [chosen]
        return [load_bundle(name) for name in (self.bundles if chosen is None else chosen)]

    def _places(self, data: Path, given: Namespace) -> list[Path]:
        if not any("{" in name for name in self.data):
            return [located(data, name) for name in self.data]
        stem = data_set(self._bundles(given)[0])
        return [located(data, name.format(stem)) for name in self.data]

    def missing(self, data: Path, arguments: Sequence[str] = ()) -> list[str]:
        """What it needs and does not find: its bundles, files of the data, packages."""
        given = self.given(False, arguments)
        try:
            self._bundles(given)
        # One whose weights do not come with the project, perhaps.
        except BundleError as error:
            return [f"a bundle: {error}"]
        files = [str(path) for path in self._places(data, given) if not path.exists()]
        return files + [f"the package {name}" for name in self.packages if find_spec(name) is None]

    def identity(self, data: Path, quick: bool, seed: int, arguments: Sequence[str] = ()) -> dict[str, Any]:
        """What its figures depend on, but for the code and the machine."""
        given = self.given(quick, arguments)
        bundles = {bundle.name: bundle for bundle in self._bundles(given)}
        places = self._places(data, given)
        files = [path for place in places for path in sorted([place, *place.glob("*")])]
        folder = data.parent if data.is_file() else data
        known = packages_distributions()
        packages = sorted({known[name][0] for name in self.packages})
        found = {
            "experiment": self.name,
            "quick": quick,
            "seed": seed,
            "bundles": {name: bundle.digest for name, bundle in bundles.items()},
            # Beyond the digest: the policies and the unmerged reference, which can change under it.
            "fronts": {
                name: file_sha256(path) for name, bundle in bundles.items() if (path := bundle.path(FRONT)).exists()
            },
            "references": {name: bundle.reference and asdict(bundle.reference) for name, bundle in bundles.items()},
            "data": {str(path.relative_to(folder)): file_sha256(path) for path in files if path.is_file()},
            "versions": {name: version(name) for name in (*VERSIONS, *packages)},
        }
        # Left out where nothing is otherwise, so that what was measured before there were options is still the same.
        usual = vars(self.given(quick))
        asked = {key: value for key, value in vars(given).items() if value != usual[key]}
        return found | {"options": asked} if asked else found

    def given(self, quick: bool, arguments: Sequence[str] = ()) -> Namespace:
        """Its options, by what was typed and otherwise as they are in quick runs, or in others."""
        return parse(self.name, self.options, quick, arguments)

    def measure(
        self, data: Path, work: Path, quick: bool = False, seed: int = 0, arguments: Sequence[str] = ()
    ) -> tuple[Report, dict[str, Any]]:
        """Run it, or go on where it was cut off.

        Args:
            data: folder of the data sets.
            work: folder of what outlives a run; each identity has a folder of its own there.
            quick: see `Setting`.
            seed: see `Setting`.
            arguments: its own options, as they are typed.

        Returns:
            the report, and what is to be written of it.

        Raises:
            UnavailableError: something that it needs is not there.
        """
        if missing := self.missing(data, arguments):
            raise UnavailableError(f"{self.name} needs {', '.join(missing)}")
        identity = self.identity(data, quick, seed, arguments)
        stamp = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        folder = work / f"{self.name}-{stamp}"
        folder.mkdir(parents=True, exist_ok=True)
        # Sums over several threads depend on their number.
        torch.set_num_threads(1)
        clock, began = folder / "seconds.json", time.monotonic()
        before = float(json.loads(clock.read_text())) if clock.exists() else 0.0
        try:
            report = self.run(Setting(self.name, data, folder, quick, seed, self.given(quick, arguments)))
        finally:
            seconds = before + time.monotonic() - began
            write_whole(clock, json.dumps(seconds).encode())
        options = as_arguments({key: value for key, value in (("quick", quick), ("seed", seed)) if value})
        command = f"thinwire reproduce {self.name}{options}{as_arguments(identity.get('options', {}))}"
        machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": usable_cores()}
        content = {**identity, "command": command, "seconds": round(seconds, 1), "machine": machine}
        return report, {**content, **report.to_json()}
