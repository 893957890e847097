"""The set comes from Kaggle, over connections that break."""

import os
import re
import sys
import zipfile

import kagglehub
import pytest

from data.download import Counts, count_files
from tests.support.kaggle import CLICKS, assert_complete, assert_failed, closed_port, run, write_archive

pytestmark = pytest.mark.slow


def test_count_counts_pairs_and_unpaired_files(tmp_path):
    for name in ("A/A_1.tif", "A/A_1_mask.tif", "A/A_2.tif", "B/B_1_mask.tif", "B/notes.txt", "data.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert count_files(tmp_path) == Counts(num_patients=1, num_slices=1, num_unpaired=2)


def test_download_fetches_the_set_from_kaggle_and_names_the_next_command(to, kaggle, capsys):
    assert run(to) == 0
    assert_complete(to)
    assert [path.name for path in to.iterdir()] == ["kaggle_3m"]
    assert [name for name, _ in kaggle.requests] == ["GetDataset", "DownloadDataset", "store"]
    out = capsys.readouterr().out
    assert f"python -m search.tune workstation --data '{to}/kaggle_3m'" in out
    assert "CC BY-NC-SA 4.0" in out
    assert "10.1016/j.compbiomed.2019.05.002" in out


def test_download_leaves_the_environment_as_it_was(to, kaggle, monkeypatch, tmp_path):
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "elsewhere"))
    assert run(to) == 0
    assert os.environ["KAGGLEHUB_CACHE"] == str(tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_download_continues_after_a_broken_connection(to, kaggle, capsys):
    kaggle.bytes_before_cut = 2_500_000
    assert_failed(to, capsys, "could not be downloaded.*run the same command again to continue.*" + CLICKS)
    kaggle.bytes_before_cut = None
    assert run(to) == 0
    assert_complete(to)
    assert kaggle.requests[-1] == ("store", f"bytes={2 * 2**20}-")  # kagglehub writes whole MiB


def test_download_needs_no_network_the_second_time(to, kaggle, capsys, monkeypatch):
    assert run(to) == 0
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    assert run(to) == 0
    assert re.search("is already complete: 2 patients and 5 slices", capsys.readouterr().out)


def test_download_says_what_to_click_without_network(to, capsys):
    assert_failed(to, capsys, rf"ProxyError.*{CLICKS}.*{re.escape(str(to / 'archive.zip'))}\.\n.*unpacks the file")


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_download_says_what_to_click_when_kaggle_refuses(to, kaggle, capsys, status):
    kaggle.status = status
    assert_failed(to, capsys, rf"{status}.*{CLICKS}")


def test_download_says_what_to_install(to, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    assert_failed(to, capsys, r"pip install -e '.\[download\]'.*" + CLICKS)


def test_download_prints_no_signed_address(to, kaggle, capsys, monkeypatch):
    def fail(_):
        raise ValueError("no route to http://store/archive.zip?X-Goog-Signature=SECRET now")

    monkeypatch.setattr(kagglehub, "dataset_download", fail)
    assert run(to) == 2
    printed = capsys.readouterr()
    assert "SECRET" not in printed.out + printed.err
    assert "archive.zip?... now" in printed.err


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"patients": {"A": 4}}, "holds 1 patients and 4 slices with masks, but must hold 2 patients and 5 slices"),
        ({"roots": ("other",)}, "holds no folder kaggle_3m"),
        (None, "Unsupported archive"),
    ],
)
def test_download_fetches_again_after_kaggle_sent_the_wrong_content(to, kaggle, capsys, tmp_path, sent, message):
    right = kaggle.archive
    kaggle.archive = b"<html>" if sent is None else write_archive(tmp_path / "wrong.zip", **sent).read_bytes()
    assert_failed(to, capsys, message)
    kaggle.archive = right
    assert run(to) == 0
    assert_complete(to)


def test_download_links_to_the_set_that_a_notebook_mounts(to, kaggle, tmp_path, monkeypatch):
    with zipfile.ZipFile(write_archive(tmp_path / "mounted.zip")) as archive:
        archive.extractall(tmp_path / "input")
    monkeypatch.setattr(kagglehub, "dataset_download", lambda _: str(tmp_path / "input"))
    assert run(to) == 0
    assert (to / "kaggle_3m").readlink() == tmp_path / "input" / "kaggle_3m"
    assert_complete(to)
