"""Where the program keeps files between runs, on machines with and without a home folder."""

import os
from pathlib import Path

import pytest

from data.machine import user as module
from data.machine.private_folder import can_write, private_folder
from data.machine.user import cache_folder, find_home


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Path:
    """The folder for temporary files; what was said and chosen before is forgotten."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    private_folder.cache_clear()
    return folder


def test_cache_folder_is_in_the_home_folder_and_nothing_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "tumour-search"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache" / "tumour-search"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("variable", ["HOME", "XDG_CACHE_HOME"])
def test_cache_folder_is_a_private_temporary_one_where_the_usual_cannot_be_written(
    variable, temporary, monkeypatch, capsys
):
    monkeypatch.setenv(variable, "/proc/nobody")  # where root cannot write either
    expected = temporary / f"tumour-search-{os.getuid()}"
    assert cache_folder() == cache_folder() == expected
    assert expected.stat().st_mode & 0o777 == 0o700
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("note: ")
    assert "/proc/nobody" in line
    assert line.endswith(f"are kept in {expected}")


def test_home_is_that_of_the_system_without_a_variable(monkeypatch):
    import pwd

    monkeypatch.delenv("HOME")
    assert find_home() == Path(pwd.getpwuid(os.getuid()).pw_dir)
    monkeypatch.setattr(module.os, "getuid", lambda: 3_999_999_999)
    assert find_home() is None


def test_a_temporary_folder_of_somebody_else_is_not_used(temporary):
    name = f"tumour-search-{os.getuid()}"
    (temporary / "elsewhere").mkdir(mode=0o700)
    (temporary / name).symlink_to("elsewhere")  # as another user could prepare it
    own = private_folder("x")
    assert (own.parent, own.name != name, own.stat().st_mode & 0o777) == (temporary, True, 0o700)
    private_folder.cache_clear()
    (temporary / name).unlink()
    (temporary / name).mkdir(mode=0o777)
    (temporary / name).chmod(0o777)
    assert private_folder("x").name != name


def test_can_write_asks_the_nearest_folder_that_exists(tmp_path):
    assert can_write(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    assert not can_write(tmp_path / "file" / "a")
    assert not can_write(Path("/proc/1/a"))


def test_a_user_without_a_name_and_a_home_gets_both(monkeypatch, tmp_path):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "HOME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999_999)
    monkeypatch.setattr(module, "private_folder", lambda problem: tmp_path)
    module.provide_user()
    assert (os.environ["USER"], os.environ["HOME"]) == ("user3999999999", str(tmp_path))


def test_a_user_with_a_name_and_a_home_keeps_them(monkeypatch):
    monkeypatch.setenv("USER", "ann")
    monkeypatch.setenv("HOME", "/home/ann")
    module.provide_user()
    assert (os.environ["USER"], os.environ["HOME"]) == ("ann", "/home/ann")
