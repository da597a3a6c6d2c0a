"""Processes that several tests share: one testbed to ask things, one behind a channel that holds requests."""

from collections.abc import Iterator

import pytest

from deploy.ports import Ports
from deploy.testbed import LocalTestbed
from thinwire.bundle import Bundle, load_bundle


@pytest.fixture(name="shipped", scope="session")
def shipped_fixture() -> Bundle:
    """What processes serve that tests start, hurt and stop: without torch, which takes seconds, they start at once."""
    return load_bundle("cifar10")


@pytest.fixture(name="testbed", scope="session")
def testbed_fixture(shipped: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTestbed]:
    """Edge, channel and cloud with the shipped bundle."""
    folder = tmp_path_factory.mktemp("testbed")
    with LocalTestbed([shipped.name], Ports.free(), log_folder=folder) as testbed:
        yield testbed


@pytest.fixture(name="_shared_testbed", scope="session")
def shared_testbed_fixture(shipped: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalTestbed]:
    # Ten seconds for the 192 uses of an unmerged frame.
    arguments = ("--symbol-rate", "20", "--inject-airtime")
    folder = tmp_path_factory.mktemp("slow")
    with LocalTestbed([shipped.name], Ports.free(), arguments, folder) as testbed:
        yield testbed


@pytest.fixture
def slow_testbed(_shared_testbed: LocalTestbed) -> LocalTestbed:
    """Edge, channel and cloud, all of them running and ready; the channel holds a frame for 50 ms a use."""
    for name, process in _shared_testbed._processes.items():
        if process.poll() is not None:
            _shared_testbed.start(name)
    _shared_testbed.wait_ready()
    return _shared_testbed
