"""What all tests share."""

import socket
from collections.abc import Iterator

import pytest
import torch
from browser import Browser, open_browser
from wandb_server import Server, wandb_server


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Tiny tensors lose seconds to threads that wait for each other on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator[Browser]:
    """Starting one takes seconds; a test leaves it without emulation, and with its logs read."""
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def no_wandb_server(tmp_path_factory) -> Iterator[None]:
    """A W&B that knows no server but a closed port of this host; one service process for all tests of a module."""
    import wandb

    with socket.socket() as closed, pytest.MonkeyPatch.context() as patch:
        closed.bind(("127.0.0.1", 0))  # bound, and nobody listens: every connection is refused
        patch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        patch.setenv("WANDB_API_KEY", 40 * "0")
        for folder in ("CONFIG", "CACHE", "DATA"):
            patch.setenv(f"WANDB_{folder}_DIR", str(tmp_path_factory.mktemp(folder)))
        for name in ("WANDB_MODE", "WANDB_SILENT", "WANDB_ENTITY", "WANDB_PROJECT"):
            patch.delenv(name, raising=False)
        wandb.teardown()  # W&B reads its settings once
        yield
        wandb.teardown()


@pytest.fixture
def server(no_wandb_server, monkeypatch) -> Iterator[Server]:
    """A server that W&B knows as its own."""
    import wandb

    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        wandb.teardown()
        yield server
        server.released.set()
        wandb.teardown()
