"""The download of the LGG set: from a Kaggle that answers on this machine, and from an archive that a browser saved."""

import base64
import fcntl
import hashlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import kagglehub
import pytest

from data import download
from data.download import Counts, count, main

ROOTS = ("kaggle_3m", "lgg-mri-segmentation/kaggle_3m")
PATIENTS = {"TCGA_CS_1": 3, "TCGA_DU_2": 2}
EXPECTED = Counts(num_patients=2, num_slices=5)
CLICKS = r"kaggle\.com/datasets/mateuszbuda/lgg-mri-segmentation, sign in, and click Download.*about 750 MB"


def write_archive(path, *, patients=PATIENTS, roots=ROOTS, extra=(), padding=0):
    """Return path, written as Kaggle packs the set; extra entries are (name or ZipInfo, content), padding is bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for root in roots:
            for patient, num_slices in patients.items():
                for number in range(1, num_slices + 1):
                    archive.writestr(f"{root}/{patient}/{patient}_{number}.tif", f"image {number}")
                    archive.writestr(f"{root}/{patient}/{patient}_{number}_mask.tif", f"mask {number}")
            archive.writestr(f"{root}/data.csv", random.Random(0).randbytes(padding))
        for name, content in extra:
            archive.writestr(name, content)
    return path


class Kaggle(ThreadingHTTPServer):
    """What kagglehub sees of Kaggle: an API that tells the version and redirects to a store, which knows ranges.

    kagglesdk knows no address but its own list; it takes the proxy of the environment though, so this is a proxy.
    """

    daemon_threads = True

    def __init__(self, archive: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.archive = archive
        self.status = 200
        self.bytes_before_cut: int | None = None
        self.requests: list[tuple[str, str | None]] = []


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        name = self.path.rpartition("/")[2]
        self.server.requests.append((name, None))
        if name == "GetDataset":
            body = json.dumps({"ref": download.HANDLE, "currentVersionNumber": 2}).encode()
            self.reply(self.server.status, body, {"Content-Type": "application/json"})
        else:
            self.reply(302, b"", {"Location": "http://localhost/store/archive.zip?X-Goog-Signature=SECRET"})

    def do_GET(self):
        asked = self.headers["Range"]
        self.server.requests.append(("store", asked))
        first = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked else 0
        digest = base64.b64encode(hashlib.md5(self.server.archive).digest()).decode()
        headers = {"Accept-Ranges": "bytes", "x-goog-hash": f"md5={digest}", "Content-Type": "application/zip"}
        self.reply(206 if asked else 200, self.server.archive[first:], headers, self.server.bytes_before_cut)

    def reply(self, status, body, headers, bytes_before_cut=None):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(body)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:bytes_before_cut])
        self.close_connection = True


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


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


def run(to: Path) -> int:
    return main(["lgg", "--to", str(to)])


def assert_complete(to: Path) -> None:
    assert count(to / "kaggle_3m") == EXPECTED
    assert (to / "kaggle_3m/TCGA_CS_1/TCGA_CS_1_3_mask.tif").read_text() == "mask 3"
    assert not (to / ".partial").exists()


def assert_failed(to: Path, capsys, message: str) -> None:
    assert run(to) == 2
    assert re.search(message, capsys.readouterr().err, re.DOTALL)
    assert not (to / "kaggle_3m").exists()


def test_count_tells_pairs_from_files_that_miss_their_other(tmp_path):
    for name in ("A/A_1.tif", "A/A_1_mask.tif", "A/A_2.tif", "B/B_1_mask.tif", "B/notes.txt", "data.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert count(tmp_path) == Counts(num_patients=1, num_slices=1, num_unpaired=2)


def test_download_brings_the_set_from_kaggle_and_says_how_to_go_on(to, kaggle, capsys):
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


def test_download_goes_on_where_the_connection_broke(to, kaggle, capsys):
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
    assert_failed(to, capsys, r"pip install 'tumour-search\[download\]'.*" + CLICKS)


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
def test_download_asks_kaggle_again_after_it_sent_something_else(to, kaggle, capsys, tmp_path, sent, message):
    right = kaggle.archive
    kaggle.archive = b"<html>" if sent is None else write_archive(tmp_path / "wrong.zip", **sent).read_bytes()
    assert_failed(to, capsys, message)
    kaggle.archive = right
    assert run(to) == 0
    assert_complete(to)


def test_download_links_to_what_a_notebook_mounts(to, kaggle, tmp_path, monkeypatch):
    with zipfile.ZipFile(write_archive(tmp_path / "mounted.zip")) as archive:
        archive.extractall(tmp_path / "input")
    monkeypatch.setattr(kagglehub, "dataset_download", lambda _: str(tmp_path / "input"))
    assert run(to) == 0
    assert (to / "kaggle_3m").readlink() == tmp_path / "input" / "kaggle_3m"
    assert_complete(to)


@pytest.mark.parametrize("roots", [ROOTS, ROOTS[1:], ("__MACOSX/archive/kaggle_3m", "archive/kaggle_3m")])
def test_archive_is_unpacked_without_network_or_kagglehub(to, capsys, monkeypatch, roots):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    write_archive(to / "archive.zip", roots=roots)
    assert run(to) == 0
    assert_complete(to)
    assert sorted(path.name for path in to.iterdir()) == ["archive.zip", "kaggle_3m"]
    assert "archive.zip is no longer needed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["../out.tif", "kaggle_3m/../../out.tif", "/out.tif", "C:/out.tif", "a\\..\\..\\out.tif"]
)
def test_archive_with_an_entry_that_points_elsewhere_is_refused(to, capsys, name):
    write_archive(to / "archive.zip", extra=[(name, "x")])
    assert_failed(to, capsys, "points elsewhere.*" + re.escape(name.replace("\\", "\\\\")))
    assert not list(to.parent.rglob("out.tif"))


@pytest.mark.parametrize("mode", [0o120777, 0o020666])
def test_archive_with_a_link_or_a_device_is_refused(to, capsys, mode):
    link = zipfile.ZipInfo("kaggle_3m/A/A_1.tif")
    link.external_attr = mode << 16
    write_archive(to / "archive.zip", extra=[(link, "/etc/passwd")])
    assert_failed(to, capsys, "a link or a device")


def test_archive_with_an_entry_in_a_folder_that_is_a_file_is_refused(to, capsys):
    write_archive(to / "archive.zip", extra=[("kaggle_3m/data.csv/A_1.tif", "x")])
    assert_failed(to, capsys, "is cut short or damaged")


def test_archive_that_declares_too_much_is_refused_before_it_is_unpacked(to, capsys):
    archive = write_archive(to / "archive.zip")
    content = bytearray(archive.read_bytes())
    for found in list(re.finditer(b"PK\x01\x02", content))[:3]:  # the size of an entry, in the list at the end
        content[found.start() + 24 : found.start() + 28] = (0xFFFFFFFE).to_bytes(4, "little")
    archive.write_bytes(content)
    assert_failed(to, capsys, r"22 entries and 12\.9 GB, but at most 100000 and 8 GB")


def test_archive_with_too_many_entries_is_refused(to, capsys, monkeypatch):
    monkeypatch.setattr(download, "MAX_ENTRIES", 21)
    write_archive(to / "archive.zip")
    assert_failed(to, capsys, "declares 22 entries")


def test_archive_that_holds_more_than_it_declares_is_refused(to, capsys):
    archive = write_archive(to / "archive.zip", extra=[("kaggle_3m/A/A_1.tif", bytes(1000))])
    content = bytearray(archive.read_bytes())
    last = content.rindex(b"PK\x01\x02")
    content[last + 24 : last + 28] = (10).to_bytes(4, "little")
    archive.write_bytes(content)
    assert_failed(to, capsys, "is cut short or damaged.*CRC")


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.99])
def test_archive_that_is_cut_short_is_refused(to, capsys, kept):
    archive = write_archive(to / "archive.zip")
    content = archive.read_bytes()
    archive.write_bytes(content[: int(kept * len(content))])
    assert_failed(to, capsys, r"archive\.zip is cut short or damaged.*delete it and download it again.*" + CLICKS)


def change(content: bytearray, place: int, value: bytes) -> None:
    content[place : place + len(value)] = value


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content, entry, end: change(content, entry + 16, bytes(4)), "CRC"),
        (lambda content, entry, end: change(content, entry + 46, b"\xff"), "decode"),
        (lambda content, entry, end: change(content, end + 16, b"\xff\xff\xff\x0f"), "begins before|offset"),
    ],
)
def test_archive_whose_list_of_entries_is_damaged_is_refused(to, capsys, damage, message):
    archive = write_archive(to / "archive.zip", extra=[("\xe4.tif", "x"), ("kaggle_3m/A/A_1.tif", "x")])
    content = bytearray(archive.read_bytes())
    entries = [found.start() for found in re.finditer(b"PK\x01\x02", content)]
    damage(content, entries[-1 if message == "CRC" else -2], content.rindex(b"PK\x05\x06"))
    archive.write_bytes(content)
    assert_failed(to, capsys, f"is cut short or damaged.*({message})")


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>"])
def test_archive_that_is_no_zip_is_refused(to, capsys, content):
    to.mkdir()
    (to / "archive.zip").write_bytes(content)
    assert_failed(to, capsys, "is not a zip archive")


@pytest.mark.parametrize("part", [b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"])
@pytest.mark.parametrize("seed", range(12))
def test_archive_with_damaged_bytes_never_ends_in_a_traceback(to, capsys, part, seed):
    archive = write_archive(to / "archive.zip", roots=ROOTS[:1])
    content, rng = bytearray(archive.read_bytes()), random.Random(seed)
    first = content.index(part)
    for _ in range(4):
        content[rng.randrange(first, len(content))] = rng.randrange(256)
    archive.write_bytes(content)
    assert run(to) in (0, 2)
    assert (to / "kaggle_3m").exists() == capsys.readouterr().out.startswith(f"{to}/kaggle_3m is complete")


@pytest.mark.parametrize(
    ("patients", "message"),
    [
        ({"A": 3}, "1 patients and 3 slices with masks, but must hold 2 patients and 5 slices"),
        ({"A": 3, "B": 3}, "2 patients and 6 slices with masks, but must hold 2 patients and 5 slices"),
    ],
)
def test_archive_with_other_counts_is_refused_with_both_numbers(to, capsys, patients, message):
    write_archive(to / "archive.zip", patients=patients)
    assert_failed(to, capsys, message)


def test_archive_with_an_image_without_mask_is_refused(to, capsys):
    write_archive(to / "archive.zip", extra=[("kaggle_3m/TCGA_CS_1/TCGA_CS_1_9.tif", "x")])
    assert_failed(to, capsys, "5 slices with masks .and 1 files without their mask or image.")


def test_unpacking_that_is_killed_leaves_nothing_that_looks_complete(to):
    write_archive(to / "archive.zip")
    script = f"""
import os, shutil, signal
copy, left = shutil.copyfileobj, [4]
def copy_some(source, sink):
    copy(source, sink)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
shutil.copyfileobj = copy_some
from data.download import main
main(["lgg", "--to", {str(to)!r}])
"""
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == -signal.SIGKILL
    assert len(list((to / ".partial").rglob("*.tif"))) == 4
    assert not (to / "kaggle_3m").exists()
    assert run(to) == 0
    assert_complete(to)


def test_folder_that_is_there_but_not_complete_is_neither_accepted_nor_touched(to, capsys):
    (to / "kaggle_3m" / "A").mkdir(parents=True)
    (to / "kaggle_3m" / "A" / "A_1.tif").touch()
    assert run(to) == 2
    message = r"holds 0 patients and 0 slices .*\(and 1 files.*must hold 2 patients and 5 slices.*; move it away"
    assert re.search(message, capsys.readouterr().err)
    assert (to / "kaggle_3m" / "A" / "A_1.tif").exists()


def test_second_download_to_one_folder_is_refused(to, capsys):
    (to / ".partial").mkdir(parents=True)
    with (to / ".partial" / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert_failed(to, capsys, "another download writes to")


def test_download_takes_what_another_process_completed_just_before(to, tmp_path, monkeypatch):
    def lock_after_the_other_ended(*_):
        with zipfile.ZipFile(write_archive(tmp_path / "other.zip", roots=ROOTS[:1])) as archive:
            archive.extractall(to)

    monkeypatch.setattr(fcntl, "flock", lock_after_the_other_ended)
    assert run(to) == 0
    assert_complete(to)


@pytest.mark.parametrize("name", ["file", "file/below", "/proc/self"])
def test_folder_that_cannot_be_written_ends_with_one_sentence(tmp_path, capsys, name):
    (tmp_path / "file").touch()
    assert_failed(tmp_path / name, capsys, r"^error: \[Errno \d+\] .*--to must be a folder to read and write, .*\n$")


@pytest.mark.parametrize("options", [[], ["lgg"], ["brats", "--to", "x"], ["lgg", "--to", "x", "--quick"]])
def test_mistake_in_the_arguments_ends_with_status_2(options, capsys):
    with pytest.raises(SystemExit) as ended:
        main(options)
    assert ended.value.code == 2
    assert capsys.readouterr().err


def test_command_expects_110_patients_and_ends_with_its_status(to):
    write_archive(to / "archive.zip")
    command = [sys.executable, "-m", "data.download", "lgg", "--to", str(to)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "holds 2 patients and 5 slices with masks, but must hold 110 patients and 3929" in ended.stderr
