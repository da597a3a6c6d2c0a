"""What an experiment is given: data, a seed, and a folder in which what it has computed outlives it."""

import hashlib
import json
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.cli.common import DEFAULT_BUNDLE
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

# Of a quick run: so many images at most, and of larger ones so many pixels, which is ten of 224 x 224.
QUICK_IMAGES, QUICK_PIXELS = 200, 10 * 224 * 224
# The images of whatever bundle an experiment is of.
TEST, TRAIN = "{}-test.tar", "{}-train.tar"
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
        """What its option says, or the usual one."""
        return load_bundle(getattr(self.options, "bundle", DEFAULT_BUNDLE))

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
            bundle: `cifar10`, `photos` or `easy-vqa`, or one of the same data.
            split: "test" or "select".
            limit: a sample of at most so many, even over classes; quick runs take at most `QUICK_IMAGES`, and of large
                ones fewer.
        """
        source = "easy-vqa.tar" if bundle.task == "vqa" else (TRAIN if split == SELECT else TEST)
        limits = [limit] if limit else []
        if self.quick:
            limits.append(min(QUICK_IMAGES, QUICK_PIXELS // bundle.preprocessing.size**2))
        path = str(self.file(source.format(data_set(bundle))))
        return load_images(bundle, path, split, min(limits, default=None))

    def evaluator(self, split: str = "test", bundle: Bundle | None = None, most: int | None = None) -> Evaluator:
        """An evaluator of a bundle on its own images; see `images`.

        Args:
            split: of its data.
            bundle: by default that of its option.
            most: images, where the option "limit" says nothing or more.
        """
        bundle = self.bundle if bundle is None else bundle
        limits = [one for one in (most, getattr(self.options, "limit", None)) if one]
        return Evaluator.load(bundle, self.images(bundle, split, min(limits, default=None)))

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


def data_set(bundle: Bundle) -> str:
    """What the files of a bundle's labelled images begin with, by the bundle's name."""
    return "photos" if bundle.name.startswith("photos") else "cifar10"


def beside(bundle: str, names: Sequence[str]) -> list[str]:
    """A bundle and those that stand beside it as ``names`` do beside their first: `photos` and `photos-middle`."""
    return [bundle.rstrip("/") + name.removeprefix(names[0]) for name in names]


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
