"""Damaged, hostile and unknown files are refused with a sentence, and sound ones are accepted."""

import gzip
import io
import os
import pickle
import re
import struct
import zipfile
import zlib

import cv2
import numpy as np
import pytest
import tifffile

from data.errors import BadFiles
from model.serve.limits import Allowance
from model.serve.upload import num_values
from tests.support.png import png_bytes
from tests.support.service import ask, encoded, image, post, post_form


def png_of(side: int) -> bytes:
    """Return a PNG whose header says side x side pixels, and which holds none."""
    return png_bytes([], width=side, height=side)


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(10**7))
    return buffer.getvalue()


class Explosive:
    def __reduce__(self) -> tuple:
        return os.system, ("touch exploded",)


RANDOM = np.random.default_rng(0).bytes(4000)


NONSENSE = {
    "nothing": b"",
    "random": RANDOM,
    "zip": zip_bomb(),
    "pickle": pickle.dumps(Explosive()),
    "gzip": gzip.compress(RANDOM),
    "gzip bomb": gzip.compress(bytes(10**7)),
    "cut PNG": encoded(image(), ".png")[:-30],
    "cut JPEG": encoded(image(), ".jpg")[:-30],
    "cut TIFF": encoded(image(), ".tif")[:-30],
    "PNG magic": b"\x89PNG\r\n\x1a\n" + RANDOM,
    "JPEG magic": b"\xff\xd8\xff" + RANDOM,
    "TIFF magic": b"II*\0" + RANDOM,
    "BigTIFF magic": b"II+\0\x08\0\0\0" + RANDOM,
    "NIfTI magic": bytes(344) + b"n+1\0" + RANDOM,
    "html": b"<html>",
}


@pytest.mark.parametrize("content", NONSENSE.values(), ids=NONSENSE.keys())
def test_damaged_and_hostile_files_are_refused_with_a_sentence(port, content, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for suffix in (".png", ".jpg", ".tif", ".nii", ".nii.gz"):
        reply = post(port, f"scan{suffix}", content)
        assert reply.status in (400, 413, 422), (suffix, reply)
        assert "Traceback" not in reply.error
        assert str(tmp_path.parent) not in reply.error, "paths of the server are nobody's business"
    assert ask(port, "GET", "/healthz").status == 200
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("name", ["scan.zip", "scan.pkl", "scan.onnx", "scan", "%00.exe", "scan.png.exe"])
def test_files_of_unknown_kinds_are_refused_unread(port, name):
    reply = post(port, name, zip_bomb())
    assert reply.status == 415
    assert "names must end in one of .nii.gz, .nii" in reply.error


def test_body_without_name_and_type_is_refused(port):
    reply = ask(port, "POST", "/predict", encoded(image(), ".png"), {"Content-Type": "application/octet-stream"})
    assert (reply.status, "give one by ?filename=scan.png" in reply.error) == (415, True)


def test_file_names_never_leave_the_folder(port):
    for name in ("../../../tmp/out.png", "/etc/passwd.png", "..%5C..%5Cout.png", "a%00%0A%22b.png", ".png"):
        reply = post(port, name, encoded(image(), ".png"))
        assert reply.status == 200
        assert re.fullmatch(r'attachment; filename="[A-Za-z0-9._-]+_mask.png"', reply.headers["content-disposition"])


@pytest.mark.parametrize("side", [2000, 20_000, 71_000, 2**31 - 1])
def test_image_that_is_too_large_is_refused_by_its_header(port, side):
    reply = post(port, "scan.png", png_of(side))
    assert reply.status == 413
    assert f"the request has {side * side} values (pixels x channels), but at most 3000000" in reply.error


def tiff_of(width: int, height: int, channels: int = 1, *more: tuple[int, int]) -> bytes:
    """Return a TIFF whose sides are of a type that can be negative (SLONG), and which holds no pixels."""
    sides = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, channels), (279, 1)]
    entries = b"".join(struct.pack("<HHIi", tag, 9, 1, value) for tag, value in sorted([*sides, *more]))
    return struct.pack("<2sHIH", b"II", 42, 8, len(sides) + len(more)) + entries + bytes(4)


def nifti_of(*sides: int) -> bytes:
    """Return the header of a NIfTI file with these sides, and nothing after it."""
    return struct.pack("<i36x8h", 348, len(sides), *sides, *[1] * (7 - len(sides))).ljust(344, b"\0") + b"n+1\0" * 50


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.nii", nifti_of(-32768, 32767, 32767), "is -32768 x 32767 x 32767"),
        ("a.nii.gz", gzip.compress(nifti_of(4, 0, 4)), "is 4 x 0 x 4"),
        ("a.tif", tiff_of(-(10**9), 1000), "is 1000 x -1000000000 x 1"),
        ("a.tif", tiff_of(1000, 0), "is 0 x 1000 x 1"),
        ("a.tif", tiff_of(1000, 1000, -3), "is 1000 x 1000 x -3"),
        ("a.tif", tiff_of(10, 10, 1, (278, -5)), "tiles or strips of no size"),
        ("a.png", png_of(0), "is 0 x 0 x 1"),
    ],
    ids=range(7),
)
def test_sides_that_are_not_positive_are_refused_by_the_header(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadFiles, match=said):
        num_values(tmp_path / name)


def test_negative_side_frees_no_memory_for_another_file(port):
    files = [("a", "A_1.png", png_of(20_000)), ("b", "A_2.tif", tiff_of(-(10**9), 1000))]
    assert post_form(port, *files).status in (400, 413)
    with pytest.raises(AssertionError, match="reserving -1 would free"), Allowance(10).reserve(-1):
        pass


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zlib"},
        {"compression": "zlib", "predictor": True, "rowsperstrip": 3},
        {"tile": (16, 16), "compression": "zlib"},
        {"planarconfig": "separate"},
        {"bigtiff": True, "byteorder": ">"},
        None,  # LZW, as OpenCV writes
    ],
)
def test_tiffs_of_every_common_encoding_are_accepted(port, tmp_path, options):
    pixels, path = image(height=40, width=30).astype(np.uint16) * 200, tmp_path / "scan.tif"
    if options is None:
        cv2.imwrite(str(path), pixels[..., ::-1])
    else:
        stored = np.moveaxis(pixels, -1, 0) if "planarconfig" in options else pixels
        tifffile.imwrite(path, stored, photometric="rgb", **options)
    reply = post(port, "scan.tif", path.read_bytes())
    assert reply.status == 200, reply
    tifffile.imwrite(tmp_path / "plain.tif", pixels, photometric="rgb")
    assert reply.body == post(port, "scan.tif", (tmp_path / "plain.tif").read_bytes()).body


def test_tiff_that_decodes_to_more_than_its_header_says_is_refused(port):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, image(channels=3), photometric="rgb", compression="zlib")
    strip = zlib.compress(bytes(50_000_000), 9)
    content = bytearray(buffer.getvalue())
    with tifffile.TiffFile(io.BytesIO(content)) as tiff:
        tags = tiff.pages.first.tags
        for tag, value in (("StripOffsets", len(content)), ("StripByteCounts", len(strip))):
            code = {3: "<H", 4: "<I", 16: "<Q"}[tags[tag].dtype]
            struct.pack_into(code, content, tags[tag].valueoffset, value)
    reply = post(port, "scan.tif", bytes(content) + strip)
    assert (reply.status, "decodes to more than its header promises" in reply.error) == (400, True)
    assert post(port, "scan.tif", buffer.getvalue()).status == 200
