"""Data folders in the layout of CIFAR-10's, of a few images of noise."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

from thinwire.bundle import load_bundle


def write_cifar10(folder: Path, train: int, test: int) -> Path:
    """Write both tars, with ``train`` and ``test`` images of each class, and give the folder."""
    return write_images(folder, "cifar10", load_bundle("cifar10").labels, 32, train, test)


def write_images(folder: Path, stem: str, labels: tuple[str, ...], size: int, train: int, test: int) -> Path:
    """`write_cifar10` for other files, labels and sizes."""
    for split, count in (("train", train), ("test", test)):
        generator = np.random.default_rng(count)
        with tarfile.open(folder / f"{stem}-{split}.tar", "w") as archive:
            for label in labels:
                for number in range(count):
                    stream = io.BytesIO()
                    Image.fromarray(generator.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(stream, "PNG")
                    entry = tarfile.TarInfo(f"{label}/{number}.png")
                    entry.size = len(stream.getvalue())
                    archive.addfile(entry, io.BytesIO(stream.getvalue()))
    return folder
