"""An archive is unpacked if it is safe and whole."""

import random
import re
import sys
import zipfile

import pytest

from data import download
from tests.support.kaggle import CLICKS, ROOTS, assert_complete, assert_failed, run, write_archive


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
def test_archive_with_an_entry_outside_its_folder_is_refused(to, capsys, name):
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
def test_archive_that_is_not_a_zip_is_refused(to, capsys, content):
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
