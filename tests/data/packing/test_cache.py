"""Packs on disk: decoded once, equal to those in memory, and made again when anything about them changes."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.packing.cache import ARRAYS, FACTS_FILE, MAX_PACKS, cached_pack, default_folder
from data.packing.pack import Pack, pack_patients
from data.preprocess import Preprocessing
from tests.support.fakes import write_lgg_patient
from tests.support.scans import scan_lgg as scan

SMALL = Preprocessing(size=8)


@pytest.fixture
def source(tmp_path):
    for patient in "AB":
        write_lgg_patient(tmp_path / "source", patient, seed=ord(patient))
    return tmp_path / "source"


def read(source: Path, folder: Path, preprocessing: Preprocessing = SMALL) -> tuple[Pack, bool]:
    """Return the pack, and whether files were decoded for it."""
    patients, decoded = scan(source).patients, []

    def make() -> Pack:
        decoded.append(True)
        return pack_patients(patients, preprocessing)

    return cached_pack(patients, preprocessing, folder, make), bool(decoded)


def test_cached_pack_is_decoded_once_and_then_mapped(source, tmp_path):
    made, decoded = read(source, tmp_path / "packs")
    found, decoded_again = read(source, tmp_path / "packs")
    assert (decoded, decoded_again) == (True, False)
    expected = pack_patients(scan(source).patients, SMALL)
    for pack in (made, found):
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(pack, name), getattr(expected, name))
        assert (pack.patient_ids, pack.fingerprint) == (expected.patient_ids, expected.fingerprint)
        assert isinstance(pack.images, np.memmap)
        assert not pack.images.flags.writeable
    assert not np.shares_memory(found.select(["A"]).images, found.images)


@pytest.mark.parametrize(
    "change",
    [
        lambda source: os.utime(source / "A" / "A_1.tif", ns=(0, 0)),
        lambda source: (source / "A" / "A_1.tif").write_bytes((source / "A" / "A_2.tif").read_bytes()),
        lambda source: write_lgg_patient(source, "C"),
        lambda source: shutil.rmtree(source / "B"),
        lambda source: (source / "B").rename(source / "C") and None,
    ],
    ids=["time", "content", "more", "fewer", "renamed"],
)
def test_cached_pack_is_made_again_when_a_file_changes(source, tmp_path, change):
    read(source, tmp_path / "packs")
    change(source)
    assert read(source, tmp_path / "packs")[1]


@pytest.mark.parametrize("changes", [{"size": 16}, {"crop": "head"}, {"normalisation": "unit"}, {"context_slices": 1}])
def test_cached_pack_depends_on_the_preprocessing(source, tmp_path, changes):
    read(source, tmp_path / "packs")
    assert read(source, tmp_path / "packs", replace(SMALL, **changes))[1]
    assert not read(source, tmp_path / "packs")[1]


@pytest.mark.parametrize("name", [*(f"{array}.npy" for array in ARRAYS), FACTS_FILE])
@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone"])
def test_cached_pack_is_made_again_when_it_is_damaged(source, tmp_path, name, damage, caplog):
    expected, _ = read(source, tmp_path / "packs")
    [file] = (tmp_path / "packs").glob(f"*/{name}")
    content = file.read_bytes()
    file.unlink()  # the pack that is in use keeps what it has mapped
    if damage == "flip":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage != "gone":
        file.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    found, decoded = read(source, tmp_path / "packs")
    assert decoded
    np.testing.assert_array_equal(found.images, expected.images)
    assert not read(source, tmp_path / "packs")[1]


def test_cached_pack_stays_in_memory_with_a_warning_if_the_folder_is_read_only(source, tmp_path, caplog):
    (tmp_path / "packs").write_text("a file")
    pack, decoded = read(source, tmp_path / "packs")
    assert decoded
    assert pack.num_slices == 6
    assert "cannot keep the pack" in caplog.text


def test_cache_keeps_only_the_packs_that_were_used_last(source, tmp_path):
    sizes = range(4, 4 + MAX_PACKS + 3)
    for age, size in enumerate(sizes):
        read(source, tmp_path / "packs", Preprocessing(size=size))
        for path in (tmp_path / "packs").iterdir():
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 10 * (age + 1)))
    assert len(list((tmp_path / "packs").iterdir())) == MAX_PACKS
    assert not read(source, tmp_path / "packs", Preprocessing(size=sizes[-1]))[1]


def test_two_processes_that_start_at_once_get_the_same_pack(source, tmp_path):
    code = (
        "import sys; from pathlib import Path; from data.packing.cache import cached_pack;"
        "from tests.support.scans import scan_lgg as scan;"
        "from data.packing.pack import pack_patients; from data.preprocess import Preprocessing;"
        "patients = scan(Path(sys.argv[1])).patients; small = Preprocessing(size=8);"
        "print(cached_pack(patients, small, Path(sys.argv[2]), lambda: pack_patients(patients, small)).images.sum())"
    )
    command = [sys.executable, "-c", code, str(source), str(tmp_path / "packs")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate(timeout=60) for process in started]
    assert {out for out, _ in said} == {f"{read(source, tmp_path / 'packs')[0].images.sum()}\n"}, said
    assert [path for path in (tmp_path / "packs").iterdir() if path.name.startswith(".")] == []


def test_cache_lies_in_the_folder_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "tumour-search" / "packs"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder() == Path.home() / ".cache" / "tumour-search" / "packs"
