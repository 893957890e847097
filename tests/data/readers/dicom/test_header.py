"""Headers are read or refused in words: truncated files, files that are something else, and bytes without sense."""

import random
import re
import warnings

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from data.errors import BadFiles, DataError, by_cause
from data.readers.dicom.reader import scan
from data.readers.dicom.series.header import read_header
from data.readers.reader import LayoutOptions
from data.readers.tree import read_tree
from tests.support.dicom import box, header_of, write_enhanced, write_rtstruct, write_seg, write_series


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"PK\x03\x04" + bytes(200), "is a zip archive"),
        (b"words" * 100, "is no DICOM file, or a truncated one|is damaged DICOM"),
        (bytes(128) + b"DICM", "is no DICOM file, or a truncated one|is damaged DICOM"),
        (bytes(1000), "is no DICOM file, or a truncated one|is damaged DICOM"),
    ],
)
def test_files_that_promise_dicom_and_hold_something_else_are_refused(tmp_path, content, reason):
    (tmp_path / "a.dcm").write_bytes(content)
    with pytest.raises(BadFiles, match=reason):
        read_header(tmp_path / "a.dcm")
    (tmp_path / "a").write_bytes(content)
    if content[128:132] != b"DICM":
        assert read_header(tmp_path / "a") is None


def test_files_without_the_mark_are_read_if_their_name_promises_dicom(tmp_path):
    path = write_series(tmp_path)[0]
    content = pydicom.dcmread(path)
    known = read_header(path)
    del content.file_meta
    content.preamble = None
    content.save_as(path, implicit_vr=True, little_endian=True)
    assert path.read_bytes()[128:132] != b"DICM"
    assert read_header(path) == known


def test_other_encodings_are_read_but_not_a_deflated_one(tmp_path):
    path = write_series(tmp_path)[0]
    known = read_header(path)
    content = pydicom.dcmread(path)
    for syntax in (ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian):
        content.file_meta.TransferSyntaxUID = syntax
        content.save_as(path, enforce_file_format=True)
        if syntax == ImplicitVRLittleEndian:
            assert read_header(path) == known
    with pytest.raises(BadFiles, match="is deflated DICOM, which is not read"):
        read_header(path)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7, 0.8, 0.9])
def test_truncated_headers_are_refused_or_complete(tmp_path, share):
    path = write_series(tmp_path)[0]
    known, whole = header_of(path), path.read_bytes()
    end = whole.index(b"\xe0\x7f\x10\x00")
    path.write_bytes(whole[: int(end * share)])
    try:
        said = header_of(path).series_uid
    except BadFiles as error:
        said = str(error)
    assert re.search("truncated|damaged", said) or said == known.series_uid


def test_equal_reasons_of_many_files_are_one_problem(tmp_path):
    for k in range(20):
        (tmp_path / f"{k:02}.dcm").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    found = scan(read_tree(tmp_path), LayoutOptions())
    assert len(found.problems) == 20
    ((where, reason),) = by_cause(found.problems)
    assert where == f"20 files, such as {tmp_path}/00.dcm, {tmp_path}/09.dcm, {tmp_path}/19.dcm"
    assert reason == "is a Git LFS pointer, not the data: fetch it by git lfs pull"


def test_values_that_break_the_standard_are_read_without_warnings(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = write_series(tmp_path, "X" * 100, PatientID="P" * 100, StudyDate="01.01.2020", SliceThickness="")[0]
    assert header_of(path).study_date == "01.01.2020"


@pytest.mark.parametrize("count", [2_000_000_000, -1])
def test_a_header_cannot_promise_any_number_of_frames(tmp_path, count):
    path = write_series(tmp_path, NumberOfFrames=count)[0]
    with pytest.raises(BadFiles, match=f"NumberOfFrames is {count}, but must be 1 to 65536"):
        read_header(path)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_bytes_never_raise_anything_but_an_error_for_the_user(tmp_path, seed):
    chosen = random.Random(seed)
    paths = write_series(tmp_path / "x")
    files = (
        paths[0],
        write_seg(tmp_path / "seg.dcm", paths),
        write_rtstruct(tmp_path / "rt.dcm", paths, {"GTV": [box(paths[0], (1, 3), (1, 2))]}),
        write_enhanced(tmp_path / "e.dcm"),
    )
    originals = {path: path.read_bytes() for path in files}
    for _ in range(12):
        for path, original in originals.items():
            content = bytearray(original)
            for _ in range(chosen.randrange(1, 6)):
                content[chosen.randrange(132, len(content))] = chosen.randrange(256)
            path.write_bytes(content)
        found = None
        try:
            found = scan(read_tree(tmp_path), LayoutOptions())
            for patient in found.patients:
                patient.read()
        except DataError:
            pass
