"""Names of dtypes, devices and bits that there are not."""

import pytest

from thinwire.errors import InvalidRequestError
from thinwire.nn.placement import Placement


@pytest.mark.parametrize("options", [{"dtype": "float8"}, {"bits": 2}])
def test_placements_that_there_are_not(options):
    with pytest.raises(InvalidRequestError, match="must be"):
        Placement(**options)


@pytest.mark.parametrize("device", ["", "gpu", "cuda:x", "cpu:0", "disk"])
def test_devices_that_there_are_not(device):
    with pytest.raises(InvalidRequestError, match="device must be"):
        Placement(device=device)
