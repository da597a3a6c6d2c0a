"""What every benchmark on labelled images asks for."""

import argparse

from deploy.cli.common import add_bundle, seed
from offline.data.images import LabelledImages, load
from thinwire.bundle import Bundle, load_bundle


def parser_for(description: str | None) -> argparse.ArgumentParser:
    """A parser of bundle, data, sample, seed and form of the output."""
    parser = argparse.ArgumentParser(description=description)
    add_bundle(parser)
    parser.add_argument("--data", required=True, help="tar or folder of class/image")
    parser.add_argument("--limit", type=int, help="an even sample over the classes")
    parser.add_argument("--seed", type=seed, default=0, help="of the noise")
    parser.add_argument("--json", action="store_true")
    return parser


def load_asked(options: argparse.Namespace) -> tuple[Bundle, LabelledImages]:
    """The bundle, and the images under the bundle's own class indices."""
    bundle = load_bundle(options.bundle)
    images = load(options.data, bundle.preprocessing, bundle.labels)
    return bundle, images.even_sample(options.limit) if options.limit else images
