"""No test reaches Kaggle, and two patients are the whole set."""

import os
import threading

import pytest

from data import download
from tests.support.kaggle import EXPECTED, Kaggle, closed_port, write_archive


@pytest.fixture(autouse=True)
def _no_network(tmp_path, monkeypatch):
    """No test reaches Kaggle, or reads an account of this machine; two patients are the whole set."""
    for name in [name for name in os.environ if name.startswith("KAGGLE") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setattr(download, "LGG", EXPECTED)


@pytest.fixture
def to(tmp_path):
    return tmp_path / "a set"


@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    with Kaggle(write_archive(tmp_path / "sent.zip", padding=1_500_000).read_bytes()) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
