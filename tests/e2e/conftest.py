"""The three processes, shared by the tests that only ask them things."""

from collections.abc import Iterator

import pytest

from deploy.testbed import LocalTestbed, Ports
from thinwire.bundle import Bundle


@pytest.fixture(name="testbed", scope="session")
def testbed_fixture(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTestbed]:
    """Edge, channel and cloud with the tiny bundle."""
    folder = tmp_path_factory.mktemp("testbed")
    with LocalTestbed(str(tiny_bundle.folder), Ports.free(), log_folder=folder) as testbed:
        yield testbed
