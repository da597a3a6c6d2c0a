"""What a test must not leave to those after it: open sockets and files, and the logging of `thinwire serve`."""

import gc
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

_FOLDER = Path("/proc/self/fd")
_known: frozenset[str] = frozenset()


def pytest_collection_finish() -> None:
    """Take what was imported out of the collector's rounds, each of which it would make ten thousand times longer."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Fail the test that leaves a socket, pipe, file or event loop to the collector, and not a later one.

    The warning would come whenever the collector next runs, under the name of a test that has nothing to do with it.
    """
    global _known
    yield
    # A collection after each test would take minutes.
    if _descriptors() <= _known:
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        # timm's tar reader keeps its file open until it is collected.
        warnings.filterwarnings("ignore", r"unclosed file .*\.tar", ResourceWarning)
        gc.collect()
    _known = _descriptors()
    left = [str(one.message) for one in caught if issubclass(one.category, ResourceWarning)]
    if left:
        pytest.fail(f"{item.nodeid} left open: {'; '.join(left)}", pytrace=False)


def _descriptors() -> frozenset[str]:
    """What this process has open, each by a name that no other has had; empty where the system does not tell."""
    found = set()
    for name in os.listdir(_FOLDER) if _FOLDER.exists() else ():
        try:
            found.add(f"{name} {os.readlink(_FOLDER / name)}")
        except OSError:
            continue
    # What gRPC's core keeps for itself has no owner in Python.
    return frozenset(one for one in found if "anon_inode" not in one)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """Put the process's logging back as it was.

    A command that serves configures it, down to INFO, for a process of its own. Tests that run one in this process
    would leave each later one with the records of everybody, and with a stream that has been closed.
    """
    root, names = logging.getLogger(), ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing")
    handlers, level, options = root.handlers[:], root.level, {name: getattr(logging, name) for name in names}
    try:
        return (yield)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        vars(logging).update(options)
