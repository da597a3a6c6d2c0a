"""What timm's vision transformer takes, as a recipe may state it."""

import inspect

from offline.bundles.model_checks import TimmArguments
from thinwire.nn.backbone import VisionTransformer


def test_the_arguments_and_their_defaults_are_timms():
    theirs = dict(list(inspect.signature(VisionTransformer.__init__).parameters.items())[1:])
    ours = inspect.signature(TimmArguments).parameters
    # A class, which a recipe cannot hold, is none of ours.
    assert {name: one.default for name, one in ours.items()} == {
        name: None if inspect.isclass(one.default) else one.default for name, one in theirs.items()
    }
