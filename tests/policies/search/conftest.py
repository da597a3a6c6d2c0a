"""What the tests of the search share."""

import warnings

import pytest
import torch

with warnings.catch_warnings():
    # linear_operator, which GPyTorch computes with, still compiles with torch.jit when it is imported.
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
    import botorch  # noqa: F401


@pytest.fixture(autouse=True)
def _one_thread():
    """The matrices are small: threads cost more than they bring, and other tests want the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
