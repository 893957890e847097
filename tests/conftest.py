"""What all tests share."""

import gc
import signal
import socket
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.browser import Browser, open_browser
from tests.support.s3_server import bucket, s3_server  # noqa: F401 (fixtures)
from tests.support.wandb_server import Server, wandb_server


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Look for no garbage in what is imported and collected: it stays, and to look through it takes half a second."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that start a Ray: they take longest, and one process runs them all."""
    items.sort(key=lambda item: not _starts_ray(str(item.path)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give every file to one process, for what its tests share; and all that start a Ray to the same one."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "ray" if _starts_ray(str(config.rootpath / file)) else file

    return Together(config, log)


@cache
def _starts_ray(file: str) -> bool:
    return "pytest.mark.ray" in Path(file).read_text()


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Tiny tensors lose seconds to threads that wait for each other on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c():
    """A shell's background jobs ignore Ctrl-C and hand that on to all that they start, whose tests then fail."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
        for name in ("WANDB_MODE", "WANDB_SILENT", "WANDB_ERROR_REPORTING", "WANDB_ENTITY", "WANDB_PROJECT"):
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
