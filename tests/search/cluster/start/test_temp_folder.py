"""Where Ray's sockets are: in the folder that the environment names, or in a short one of the search's own."""

import os
import socket
from pathlib import Path

import pytest

from search.cluster.start.temp_folder import MAX_FOLDER_BYTES, VARIABLES, ray_folder, socket_problem, temporary_folder


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def long_folder(tmp_path) -> Path:
    folder = tmp_path / ("a" * 100)
    folder.mkdir()
    return folder


def own_folders() -> set[Path]:
    return {*Path("/tmp").glob("ray-*")}


def test_a_short_folder_is_left_to_ray_and_nothing_is_said(capsys):
    with ray_folder() as folder:
        assert folder is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("name", VARIABLES)
def test_a_long_folder_is_reached_by_a_short_link_that_is_removed_at_the_end(name, long_folder, monkeypatch, capsys):
    monkeypatch.setenv(name, str(long_folder))
    before = own_folders()
    with ray_folder() as folder:
        assert folder is not None
        assert len(os.fsencode(folder.parent)) <= MAX_FOLDER_BYTES
        assert folder.parent.stat().st_mode & 0o777 == 0o700
        assert folder.resolve() == long_folder / "ray"
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"note: {name} is '{long_folder}', where Ray cannot have its sockets")
    assert own_folders() == before
    assert (long_folder / "ray").is_dir()


@pytest.mark.parametrize("value", ["", "/proc/nobody", "/dev/null"])
def test_a_folder_that_cannot_be_used_is_replaced(value, monkeypatch, capsys):
    monkeypatch.setenv("TMPDIR", value)
    before = own_folders()
    with ray_folder() as folder:
        assert folder is not None
        assert folder.is_dir()
        assert not folder.is_symlink()
        with socket.socket(socket.AF_UNIX) as probe:
            probe.bind(str(folder / "socket"))
    assert own_folders() == before
    assert capsys.readouterr().err.startswith(f"note: TMPDIR is '{value}', where Ray cannot have its sockets (")


def test_rays_own_variable_precedes_the_systems(monkeypatch, long_folder):
    assert temporary_folder() == Path("/tmp")
    monkeypatch.setenv("TMPDIR", str(long_folder))
    assert temporary_folder() == long_folder
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    with ray_folder() as folder:
        assert folder is None


def test_the_longest_folder_that_is_legal_gives_a_socket_of_the_longest_legal_path(tmp_path):
    assert MAX_FOLDER_BYTES == 39
    assert "at most 39 bytes" in (socket_problem(Path("/tmp/" + 35 * "a")) or "")
    assert "absolute" in (socket_problem(Path("relative")) or "")
