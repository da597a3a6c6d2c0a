"""What tests of the command line share."""

import logging

import pytest


@pytest.fixture(autouse=True)
def _no_logs_of_an_earlier_command():
    """A server's handler would write to the standard error of the test that started it, which is closed."""
    _without_streams()
    yield
    _without_streams()


def _without_streams() -> None:
    root = logging.getLogger()
    for handler in [one for one in root.handlers if type(one) is logging.StreamHandler]:
        root.removeHandler(handler)
    root.setLevel(logging.WARNING)
