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
    """Keep the garbage collector away from what is imported: it stays anyway, and going through it takes 0.5 s."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files that start Ray first: they take longest, and one process runs all of them."""
    items.sort(key=lambda item: not _starts_ray(str(item.path)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file in one process, because they share fixtures, and all files that start Ray in another.

    The files that look at one promoted experiment share a process, too, so that it is made once.
    """
    from xdist.scheduler import LoadScopeScheduling

    class FileScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            path = str(config.rootpath / file)
            return "ray" if _starts_ray(path) else "delivered" if _uses_delivered(path) else file

    return FileScheduling(config, log)


@cache
def _starts_ray(file: str) -> bool:
    return "pytest.mark.ray" in Path(file).read_text()


@cache
def _uses_delivered(file: str) -> bool:
    return "(delivered" in Path(file).read_text()


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Let torch use one thread: with tiny tensors on a busy machine, threads that wait for each other cost seconds."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c():
    """Let processes react to Ctrl-C, which a shell's background jobs and everything that they start ignore."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def browser(tmp_path_factory) -> Iterator[Browser]:
    """One browser for all tests, as it takes seconds to start; each test undoes its emulation and reads the logs."""
    with open_browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def no_wandb_server(tmp_path_factory) -> Iterator[None]:
    """Let W&B know no server but a closed port of this host; the tests of a module share one service process."""
    import wandb

    with socket.socket() as closed, pytest.MonkeyPatch.context() as patch:
        closed.bind(("127.0.0.1", 0))  # bound without a listener, so that every connection is refused
        patch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        patch.setenv("WANDB_API_KEY", 40 * "0")
        for folder in ("CONFIG", "CACHE", "DATA"):
            patch.setenv(f"WANDB_{folder}_DIR", str(tmp_path_factory.mktemp(folder)))
        for name in ("WANDB_MODE", "WANDB_SILENT", "WANDB_ERROR_REPORTING", "WANDB_ENTITY", "WANDB_PROJECT"):
            patch.delenv(name, raising=False)
        wandb.teardown()  # W&B reads its settings only once
        yield
        wandb.teardown()


@pytest.fixture
def server(no_wandb_server, monkeypatch) -> Iterator[Server]:
    """The server that W&B uses."""
    import wandb

    with wandb_server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        wandb.teardown()
        yield server
        server.released.set()
        wandb.teardown()
