"""What the README quotes is what ships."""

import re
from pathlib import Path

from policies.fronts import Fronts
from thinwire.bundle import FRONT, load_bundle

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_policies_that_it_names_are_on_the_shipped_fronts():
    bundle = load_bundle("cifar10")
    shipped = {measured.policy.id for measured in Fronts.load(bundle.path(FRONT), bundle.digest).policies}
    named = set(re.findall(r"\bp-[0-9a-f]{10}\b", README))
    assert named
    assert named <= shipped
