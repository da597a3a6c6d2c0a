"""What an experiment is given: data, a seed, and a folder in which what it has computed outlives it."""

import hashlib
import json
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from offline.data.sources import SELECT, load_images
from offline.measure.evaluator import Evaluator
from offline.measure.judges import Images
from policies.budget import Budget
from policies.choice import AUTO, UNMERGED, Choice, choose_for
from policies.files import write_whole
from policies.fronts import Fronts
from thinwire.bundle import FRONT, Bundle, load_bundle
from thinwire.channels import Channel
from thinwire.errors import InvalidRequestError

QUICK_IMAGES = 200
# Half, a fifth and a twentieth of the unmerged reference.
SHARES = (0.5, 0.2, 0.05)


@dataclass(frozen=True)
class Setting:
    """Where an experiment finds what it needs.

    Attributes:
        name: of the experiment.
        data: folder of the data sets.
        folder: of what outlives a run that was cut off; this experiment's own, on these bundles, with this seed.
        quick: a small sample and short training, to see that all works; the figures mean little.
        seed: of noise, sampling and training.
        options: the experiment's own, by their names.
    """

    name: str
    data: Path
    folder: Path
    quick: bool = False
    seed: int = 0
    options: Namespace = field(default_factory=Namespace)

    @property
    def bundle(self) -> Bundle:
        """What its option says."""
        return load_bundle(self.options.bundle)

    def file(self, name: str) -> Path:
        """A file or folder of the data; whatever was given, if that is no folder of data sets but one of them.

        Raises:
            InvalidRequestError: it is not there.
        """
        path = located(self.data, name)
        if not path.exists():
            raise InvalidRequestError(f"{self.name}: no {name} in {self.data}")
        return path

    def images(self, bundle: Bundle, split: str = "test", limit: int | None = None) -> Images:
        """The images of a bundle's data set: those of "test", or of "select".

        Args:
            bundle: `cifar10` or `easy-vqa`, or one of the same data.
            split: "test" or "select".
            limit: a sample of at most so many, even over classes; quick runs take at most `QUICK_IMAGES`.
        """
        stored = "test" if split != SELECT else "train"
        source = "easy-vqa.tar" if bundle.task == "vqa" else f"cifar10-{stored}.tar"
        images = load_images(bundle, str(self.file(source)), split)
        most = min(limit or len(images), QUICK_IMAGES if self.quick else len(images))
        return images.even_sample(most)

    def evaluator(self, name: str = "cifar10", split: str = "test", limit: int | None = None) -> Evaluator:
        """An evaluator of a shipped bundle on its own images; see `images`."""
        bundle = load_bundle(name)
        return Evaluator.load(bundle, self.images(bundle, split, limit))

    def kept(self, key: str, compute: Callable[[], Any]) -> Any:
        """What ``compute`` gives, from the folder if an earlier run of this experiment came so far.

        Args:
            key: names the part and all that it depends on.
            compute: gives what JSON can hold.
        """
        path = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
        if path.exists():
            return json.loads(path.read_text())["value"]
        value = compute()
        write_whole(path, json.dumps({"key": key, "value": value}).encode())
        # As the next run will find it: tuples as lists, keys as texts.
        return json.loads(json.dumps(value))


def located(data: Path, name: str) -> Path:
    """Where a data set is: in the folder of them, or what was given itself, if that is a file."""
    return data if data.is_file() else data / name


def fronts_of(bundle: Bundle) -> Fronts:
    """The fronts that a bundle ships with."""
    return Fronts.load(bundle.path(FRONT), bundle.digest)


def chosen(bundle: Bundle, channel_uses: int | None, channel: Channel) -> Choice:
    """What a budget chooses on a channel, of the fronts that the bundle ships with; without one, the reference."""
    if channel_uses is None:
        return choose_for(bundle, None, UNMERGED, Budget(), channel)
    return choose_for(bundle, fronts_of(bundle), AUTO, Budget(channel_uses=channel_uses), channel)


def three_policies(bundle: Bundle) -> dict[str, Choice]:
    """The unmerged reference, and what budgets of `SHARES` of its uses choose on AWGN at 10 dB, by a label."""
    channel = Channel("awgn", 10.0)
    reference = chosen(bundle, None, channel)
    assert bundle.reference is not None
    budgets = [int(share * bundle.reference.channel_uses) for share in SHARES]
    return {"unmerged": reference, **{f"within {uses} uses": chosen(bundle, uses, channel) for uses in budgets}}
