"""What all tests share."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Tiny tensors lose seconds to threads that wait for each other on a busy machine."""
    torch.set_num_threads(1)
