"""Files and folders that appear whole or not at all."""

import pytest

from data.atomic import new_folder, write


@pytest.mark.parametrize("sync", [True, False])
def test_write_replaces_a_file_and_leaves_nothing_else(tmp_path, sync):
    (tmp_path / "a").write_bytes(b"old")
    write(tmp_path / "a", b"new", sync=sync)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"new"}


def test_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    def fail(path, target):
        raise OSError("No space left on device")

    (tmp_path / "a").write_bytes(b"old")
    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "a", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


def test_new_folder_appears_when_it_is_whole(tmp_path):
    target = tmp_path / "below" / "a"
    with new_folder(target) as folder:
        (folder / "one").touch()
        assert not target.exists()
    assert [path.name for path in target.parent.iterdir()] == ["a"]
    assert (target / "one").exists()


def test_new_folder_vanishes_when_its_block_fails(tmp_path):
    def fill():
        with new_folder(tmp_path / "a") as folder:
            (folder / "one").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_new_folder_leaves_what_another_process_made_meanwhile(tmp_path):
    with new_folder(tmp_path / "a") as folder:
        (folder / "mine").touch()
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "theirs").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["theirs"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_new_folder_refuses_the_place_of_a_file(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(OSError, match="a"), new_folder(tmp_path / "a"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
