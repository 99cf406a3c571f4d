"""Fixtures of more than one test file."""

import pytest
import torch


@pytest.fixture(scope="module")
def one_thread():
    """For pictures this small, threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
