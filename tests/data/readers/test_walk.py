"""The walk that the readers share: what it leaves out, where it ends, and what it reports."""

from data.readers.walk import walk


def test_walk_lists_every_folder_once_except_hidden_ones(tmp_path):
    for name in ("b/2", "b/10", "b/.DS_Store", "b/~$2", "a/1", ".cache/3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "c").symlink_to(tmp_path / "b")
    problems = []
    found = list(walk(tmp_path, problems))
    a, b = tmp_path / "a", tmp_path / "b"
    assert found == [(tmp_path, ["a", "b", "c"], []), (a, ["loop"], ["1"]), (b, [], ["10", "2"])]
    assert problems == []


def test_walk_says_which_folder_cannot_be_listed(tmp_path):
    (tmp_path / "gone").mkdir()
    problems = []
    for _ in walk(tmp_path, problems):
        (tmp_path / "gone").rmdir()
    assert list(map(str, problems)) == [
        f"{tmp_path}/gone: cannot be listed (No such file or directory); check that you may read it"
    ]
