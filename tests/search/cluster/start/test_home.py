"""What libraries keep in the home folder goes elsewhere where that is not to be had."""

import os

import pytest

from data.machine.private_folder import private_folder
from search.cluster.start.home import CACHES, TOKEN_FILE, home_variables


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    """The folder of this user among the temporary ones."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    private_folder.cache_clear()
    return tmp_path / f"tumour-search-{os.getuid()}"


def test_nothing_changes_where_the_home_folder_can_be_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert home_variables(os.environ, starts_ray=True) == {}
    assert capsys.readouterr().err == ""


def test_a_home_folder_that_cannot_be_written_is_replaced_folder_by_folder(own, monkeypatch, capsys):
    monkeypatch.setenv("HOME", "/proc")  # a folder that even root cannot write
    found = home_variables({"HOME": "/proc", "HF_HOME": "/models"}, starts_ray=True)
    assert len(found.pop("RAY_AUTH_TOKEN")) == 64
    assert found == {name: str(own / path) for name, path in CACHES.items() if name != "HF_HOME"}
    assert "RAY_AUTH_TOKEN" not in home_variables({"HOME": "/proc"}, starts_ray=False)
    assert capsys.readouterr().err.count("\n") == 1


def test_what_is_in_the_home_folder_is_used(tmp_path, monkeypatch):
    (tmp_path / TOKEN_FILE).parent.mkdir()
    (tmp_path / TOKEN_FILE).touch()
    (tmp_path / CACHES["HF_HOME"]).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("search.cluster.start.home.can_write", lambda folder: False)
    found = home_variables(os.environ, starts_ray=True)
    assert found.keys().isdisjoint({"HOME", "HF_HOME", "RAY_AUTH_TOKEN"})
    assert "TRITON_CACHE_DIR" in found


@pytest.mark.parametrize("home", ["", "/proc/nobody"])
def test_a_home_folder_that_does_not_exist_is_replaced_as_a_whole(home, own, monkeypatch):
    monkeypatch.setenv("HOME", home)
    monkeypatch.setattr("search.cluster.start.home.find_home", lambda: None) if not home else None
    assert home_variables(os.environ, starts_ray=True) == {"HOME": str(own)}
