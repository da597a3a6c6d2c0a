"""What the tests of the search share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """The matrices are small: threads cost more than they bring, and other tests want the cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
