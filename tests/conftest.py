"""What all tests share."""

from collections.abc import Iterator

import pytest
import torch
from browser import Browser, open_browser


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Tiny tensors lose seconds to threads that wait for each other on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator[Browser]:
    """Starting one takes seconds; a test leaves it without emulation, and with its logs read."""
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser
