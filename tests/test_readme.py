"""What the README quotes is what ships."""

import re
from pathlib import Path

from deploy.cli.common import DEFAULT_BUNDLES
from deploy.demo import drawing
from policies.fronts import Fronts
from thinwire.bundle import FRONT, load_bundle

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_policies_that_it_names_are_on_the_shipped_fronts():
    bundles = [load_bundle(name) for name in DEFAULT_BUNDLES]
    fronts = [Fronts.load(bundle.path(FRONT), bundle.digest) for bundle in bundles]
    shipped = {measured.policy.id for front in fronts for measured in front.policies}
    named = set(re.findall(r"\bp-[0-9a-f]{10}\b", README))
    assert named
    assert named <= shipped


def test_its_picture_is_the_one_that_the_demo_asks_about():
    assert (ROOT / "docs" / "triangle.png").read_bytes() == drawing()
