"""Headers that promise gigabytes take no memory."""

import lzma
import struct
import subprocess
import sys
import time
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.support.damage import gz_content, jpeg, png, put, tags
from tests.support.sources import image_of, mask_of, write_tiff

BOMBS = """
import resource, sys
from pathlib import Path
limit = 1536 << 20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
from data.errors import BadFiles
from data.source import ReadingOptions, find_source
source, layout = sys.argv[1:]
found = find_source(source, reading=ReadingOptions(data_format=layout), phantom_root=Path(source))
bad = []
for patient in found.patients:
    try:
        patient.read()
    except BadFiles as error:
        bad += [problem.path.name for problem in error.problems]
status = Path("/proc/self/status").read_text()  # ru_maxrss would be that of the process that started this one
used = int(status.split("VmHWM:")[1].split()[0])
assert used < 300 << 10, used
print(*sorted(bad))
"""


def bomb_lgg(source):
    for path in (source / "P0/P0_1.tif", source / "P1/P1_1.tif"):
        write_tiff(path, image_of("P0", 1), compression="zlib")
    tags("P0/P0_1.tif", ImageWidth=2**31, ImageLength=2**31)(source)
    tags("P1/P1_1.tif", ImageWidth=16384, ImageLength=16384, RowsPerStrip=16384)(source)
    tags("P2/P2_1_mask.tif", ImageLength=16384)(source)
    for name, compression, compress in (
        ("P2_2", "zlib", zlib.compress),
        ("P2_3", "lzma", partial(lzma.compress, preset=0)),
    ):
        write_tiff(source / f"P2/{name}.tif", image_of("P2", 2), compression=compression)
        with_strip(source / f"P2/{name}.tif", compress(bytes(400 << 20)))
    return "P0_1.tif P1_1.tif P2_1_mask.tif P2_2.tif P2_3.tif"


def with_strip(path, strip):
    """Replace the pixels of a TIFF, whose header promises what it did before."""
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        for tag, value in (("StripOffsets", len(content)), ("StripByteCounts", len(strip))):
            found = tiff.pages.first.tags[tag]
            struct.pack_into({3: "<H", 4: "<I"}[found.dtype], content, found.valueoffset, value)
    path.write_bytes(bytes(content) + strip)


def bomb_folder(source):
    (source / "images/P0/1.png").write_bytes(png(mask_of("P0", 1), width=2**31 - 1))
    (source / "images/P1/2.png").write_bytes(png(mask_of("P0", 1), width=16384))
    frame = bytearray(jpeg(image_of("P2", 3)))
    at = frame.index(b"\xff\xc0")
    frame[at + 5 : at + 9] = struct.pack(">HH", 16384, 16384)
    (source / "images/P2/3.png").unlink()
    (source / "images/P2/3.jpg").write_bytes(frame)
    return "1.png 2.png 3.jpg"


def bomb_nifti(source):
    gz_content("P0/P0_t1.nii.gz", put(42, (32767, 32767, 32767), np.int16))(source)
    gz_content("P1/P1_t1.nii.gz", put(42, (512, 1024, 1024), np.int16))(source)
    gz_content("P2/P2_t1.nii.gz", put(108, 1e9, np.float32))(source)
    gz_content("P3/P3_t1.nii.gz", lambda old: bytes(old) + bytes(40 << 20))(source)
    return "P0_t1.nii.gz P1_t1.nii.gz P2_t1.nii.gz P3_t1.nii.gz"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the memory used")
@pytest.mark.parametrize(("layout", "bomb"), [("lgg", bomb_lgg), ("folder", bomb_folder), ("nifti", bomb_nifti)])
def test_a_header_that_promises_gigabytes_takes_no_memory(copy, layout, bomb):
    source = copy(layout)
    expected = bomb(source)
    start = time.perf_counter()
    command = [sys.executable, "-c", BOMBS, str(source), layout]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.stdout.strip() == expected, done.stderr
    assert time.perf_counter() - start < 20
