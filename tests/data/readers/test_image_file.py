"""Image files as arrays, and a message for each way in which a file can be bad."""

import re
import struct
import sys

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from data.errors import BadFiles
from data.readers.image_files.mask import as_mask
from data.readers.image_files.page import MAX_SIDE, Page
from data.readers.image_files.picture import FORMAT_OF_SUFFIX
from data.regions import parse_regions
from tests.support.pixels import read_pixels
from tests.support.png import png_bytes, png_chunk


def encoded(suffix, pixels):
    """Return the file that OpenCV makes of RGB or grey pixels."""
    pixels = pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]
    return cv2.imencode(suffix, pixels)[1].tobytes()


def jpeg(height=16, width=24, *, header_height=None, num_channels=None):
    """Return a grey JPEG whose frame header may lie about its height and number of channels."""
    content = bytearray(encoded(".jpg", np.full((height, width), 90, np.uint8)))
    at = content.index(b"\xff\xc0")
    if header_height is not None:
        content[at + 5 : at + 7] = struct.pack(">H", header_height)
    if num_channels is not None:
        content[at + 9] = num_channels
        content[at + 10 : at + 13] *= num_channels
        content[at + 2 : at + 4] = struct.pack(">H", 8 + 3 * num_channels)
    return bytes(content)


def noise(*shape, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 1e4, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def write(path, content):
    path.write_bytes(content)
    return path


def reason_of(path):
    """Return why path cannot be read: its only problem."""
    with pytest.raises(BadFiles) as caught:
        read_pixels(path)
    (problem,) = caught.value.problems
    assert problem.path == path
    assert str(path) in str(caught.value)
    return problem.reason


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 2), (5, 7, 3)])
@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"bigtiff": True}, {"compression": "zlib"}])
def test_read_pixels_returns_what_was_written_as_tiff(tmp_path, dtype, shape, options):
    pixels = noise(*shape, dtype=dtype)
    kind = {"photometric": "rgb"} if shape[2:] == (3,) else {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", pixels, **kind, **options)
    read = read_pixels(tmp_path / "a.tif")
    assert read.dtype == dtype
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, pixels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_read_pixels_returns_what_opencv_wrote(tmp_path, dtype, shape, suffix):
    pixels = noise(*shape, dtype=dtype)
    read = read_pixels(write(tmp_path / f"a{suffix}", encoded(suffix, pixels)))
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, pixels)


def test_read_pixels_moves_separate_planes_last(tmp_path):
    planes = noise(3, 5, 7)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.tif"), planes.transpose(1, 2, 0))


def test_read_pixels_narrows_float64_and_widens_bits(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0.5, 1e30]]))
    assert read_pixels(tmp_path / "a.tif").dtype == np.float32
    bits = np.eye(9, dtype=bool)
    tifffile.imwrite(tmp_path / "b.tif", bits)
    read = read_pixels(tmp_path / "b.tif")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, bits)


@pytest.mark.parametrize("value", [90, (200, 90, 20)])
@pytest.mark.parametrize("suffix", [".jpg", ".JPEG"])
def test_read_pixels_returns_jpeg_as_grey_or_rgb(tmp_path, value, suffix):
    pixels = np.full((32, 48, *np.shape(value)), value, np.uint8)
    read = read_pixels(write(tmp_path / f"a{suffix}", encoded(".jpg", pixels)))
    assert read.dtype == np.uint8
    np.testing.assert_allclose(read, pixels, atol=3)


@pytest.mark.parametrize(("depth", "row", "values"), [(1, 0b10100000, [1, 0, 1]), (2, 0b00011011, [0, 1, 2, 3])])
def test_read_pixels_keeps_the_values_of_few_bits(tmp_path, depth, row, values):
    path = write(tmp_path / "a.png", png_bytes([[row]], width=len(values), depth=depth))
    assert read_pixels(path).tolist() == [values]


def test_read_pixels_returns_the_colours_of_a_palette(tmp_path):
    palette = png_chunk(b"PLTE", bytes([0, 0, 0, 250, 10, 20]))
    path = write(tmp_path / "a.png", png_bytes([[0, 1]], width=2, colour=3, before=palette))
    assert read_pixels(path).tolist() == [[[0, 0, 0], [250, 10, 20]]]


def test_read_pixels_drops_an_opaque_alpha_channel(tmp_path):
    rgba = noise(5, 7, 4)
    rgba[..., 3] = 255
    read = read_pixels(write(tmp_path / "a.png", encoded(".png", rgba)))
    np.testing.assert_array_equal(read, rgba[..., :3])
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.tif"), rgba[..., :3])
    grey = write(tmp_path / "b.png", png_bytes([[7, 255, 9, 255]], width=2, colour=4))
    assert read_pixels(grey).tolist() == [[7, 9]]


def test_read_pixels_refuses_an_alpha_channel_that_hides_something(tmp_path):
    rgba = np.full((5, 7, 4), 254, np.uint8)
    assert re.match("its alpha channel is not opaque", reason_of(write(tmp_path / "a.png", encoded(".png", rgba))))
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    assert re.match("its alpha channel is not opaque", reason_of(tmp_path / "a.tif"))


def test_read_pixels_takes_a_fourth_channel_that_is_not_alpha(tmp_path):
    pixels = noise(5, 7, 4)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.tif"), pixels)


@pytest.mark.parametrize("name", ["a b.png", "Schädel 頭.png", "a.png.PNG"])
def test_read_pixels_takes_any_name(tmp_path, name):
    pixels = noise(5, 7)
    np.testing.assert_array_equal(read_pixels(write(tmp_path / name, encoded(".png", pixels))), pixels)


def test_read_pixels_ignores_what_follows_the_end_marker(tmp_path):
    for name, content in (("a.jpg", jpeg()), ("a.png", encoded(".png", noise(5, 7)))):
        assert read_pixels(write(tmp_path / name, content + b"\0\0tail")).ndim == 2


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.png", b"", r"is empty \(0 bytes\); copy it again"),
        ("a.png", b"GIF89a\0\0", r"is not a TIFF, PNG or JPEG \(it begins with 47 49 46 38 39 61 00 00\)"),
        ("a.tif", encoded(".png", noise(4, 4)), r"wrong suffix: the content is PNG, but \.tif says TIFF; rename"),
        ("a.png", jpeg(), r"wrong suffix: the content is JPEG, but \.png says PNG"),
        ("a.JPG", encoded(".tif", noise(4, 4)), r"wrong suffix: the content is TIFF, but \.JPG says JPEG"),
        ("a.png", png_bytes([[0]], width=60000), rf"is 1 x 60000, but 1 to {MAX_SIDE} pixels a side are legal; resize"),
        ("a.png", png_bytes([[0]], width=1, height=2**32 - 1), rf"is 4294967295 x 1, but 1 to {MAX_SIDE}"),
        ("a.png", png_bytes([[0]], width=0), r"is 1 x 0, but 1 to"),
        (
            "a.png",
            png_bytes([[0]], width=1, before=png_chunk(b"acTL", bytes([0, 0, 0, 3] + [0] * 4))),
            r"holds 3 pages",
        ),
        (
            "a.png",
            png_bytes([[0] * 8], width=8).replace(b"IEND", b"IENd"),
            r"is damaged \(the checksum of chunk 'IENd'",
        ),
        (
            "a.png",
            png_bytes([[0] * 8], width=8, height=99),
            r"its pixels are damaged, or encoded in a rare way; copy it again",
        ),
        ("a.png", png_bytes([[0] * 8], width=8, depth=5), r"its pixels are damaged, or encoded in a rare way"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + png_chunk(b"IEND", b""), r"cannot be decoded as PNG \(error: "),
        ("a.jpg", jpeg(header_height=60000), rf"is 60000 x 24, but 1 to {MAX_SIDE} pixels"),
        ("a.jpg", jpeg(header_height=16000), r"is damaged \(16000 x 24 pixels do not fit \d+ bytes\); copy it again"),
        ("a.jpg", jpeg(header_height=0), r"is 0 x 24, but 1 to"),
        ("a.jpg", jpeg(num_channels=4), r"has 4 channels \(4 are CMYK\), but must be grey or RGB; convert it"),
        ("a.jpg", b"\xff\xd8\xff\xd9", r"does not say its size where a JPEG does"),
        ("a.jpg", jpeg()[:-2] + b"\xff\x00", r"is truncated \(there is no end marker\); copy it again"),
        ("a.tif", b"II*\0\xff\xff\xff\x7f", r"cannot be decoded as TIFF \(.*\); copy it again or save it again"),
    ],
)
def test_read_pixels_says_what_is_wrong(tmp_path, name, content, reason):
    assert re.match(reason, reason_of(write(tmp_path / name, content)))


@pytest.mark.parametrize(
    ("pixels", "options", "reason"),
    [
        (
            np.zeros((2, 8, 8), np.uint8),
            {"photometric": "minisblack"},
            r"holds 2 pages, but must hold one slice; split",
        ),
        (
            np.zeros((8, 8), np.complex64),
            {},
            r"its pixels are MINISBLACK of complex64, but must be grey or RGB of bool,",
        ),
        (np.zeros((8, 8, 4), np.uint8), {"photometric": "separated"}, r"its pixels are SEPARATED of uint8"),
        (np.array([[1, np.nan, np.inf]], np.float32), {}, r"2 values are NaN, infinite or above 3\.4e38; replace them"),
        (np.array([[1e300]]), {}, r"1 values are NaN, infinite or above"),
        (np.zeros((1, MAX_SIDE + 1), np.uint8), {}, rf"is 1 x {MAX_SIDE + 1}, but 1 to {MAX_SIDE} pixels a side"),
        (np.zeros((1, 1, 65), np.uint8), {"planarconfig": "contig"}, r"has 65 channels, but at most 64 are legal"),
        (np.zeros((2, 16, 16), np.uint8), {"volumetric": True, "tile": (2, 16, 16)}, r"is 2 x 16 x 16, but must be"),
    ],
)
def test_read_pixels_says_what_is_wrong_with_a_tiff(tmp_path, pixels, options, reason):
    tifffile.imwrite(tmp_path / "a.tif", pixels, **{"photometric": None} | options)
    assert re.match(reason, reason_of(tmp_path / "a.tif"))


@pytest.mark.parametrize("tags", [{"ImageWidth": 60000, "ImageLength": 60000}, {"ImageLength": 4_000_000_000}])
def test_read_pixels_refuses_a_huge_tiff_by_its_header(tmp_path, tags):
    tifffile.imwrite(tmp_path / "a.tif", noise(8, 8))
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        for name, value in tags.items():
            tiff.pages.first.tags[name].overwrite(value, dtype="I")
    assert re.match(rf"is \d+ x \d+, but 1 to {MAX_SIDE}", reason_of(tmp_path / "a.tif"))


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_read_pixels_refuses_a_tiff_that_promises_more_rows_than_it_holds(tmp_path, compression):
    tifffile.imwrite(tmp_path / "a.tif", noise(8, 8), compression=compression)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        tiff.pages.first.tags["ImageLength"].overwrite(9000)
    assert re.match(r"is truncated", reason_of(tmp_path / "a.tif"))


@pytest.mark.parametrize("kept", [0.02, 0.1, 0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("name", ["a.tif", "b.tif", "c.tif", "a.png", "a.jpg"])
def test_read_pixels_refuses_a_truncated_file(tmp_path, name, kept):
    pixels = noise(24, 24, 3)
    if name.endswith(".tif"):
        options = {"a": {}, "b": {"rowsperstrip": 4}, "c": {"rowsperstrip": 4, "compression": "zlib"}}[name[0]]
        tifffile.imwrite(tmp_path / name, pixels, photometric="rgb", **options)
    else:
        write(tmp_path / name, encoded(name[1:], pixels))
    content = (tmp_path / name).read_bytes()
    assert read_pixels(tmp_path / name).shape == (24, 24, 3)
    reason = reason_of(write(tmp_path / name, content[: int(kept * len(content))]))
    assert re.match("is truncated" if kept > 0.5 else "is truncated|cannot be decoded", reason)


def test_read_pixels_says_that_a_file_cannot_be_opened(tmp_path):
    assert re.match(r"cannot be read \(No such file or directory\); check that", reason_of(tmp_path / "a.png"))
    (tmp_path / "a.png").mkdir()
    assert re.match("is a folder or a device, but must be an image file", reason_of(tmp_path / "a.png"))
    (tmp_path / "b.png").symlink_to(tmp_path / "b.png")
    assert re.match(r"cannot be read \(Too many levels of symbolic links\)", reason_of(tmp_path / "b.png"))


SMALL = {
    ".png": encoded(".png", noise(9, 11, 3)),
    ".jpg": encoded(".jpg", noise(17, 11, 3)),
    ".tif": encoded(".tif", noise(9, 11, 3)),  # LZW, which is OpenCV's to decode
    ".tiff": None,
}


@pytest.mark.parametrize("suffix", SMALL)
def test_read_pixels_of_a_damaged_file_is_an_array_or_bad_files(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".tiff":
        tifffile.imwrite(path, noise(9, 11, 3), photometric="rgb")
    content = SMALL[suffix] or path.read_bytes()
    rng = np.random.default_rng(0)
    num_refused = 0
    for _ in range(400):
        damaged = bytearray(content)
        for at in rng.integers(0, len(damaged), rng.integers(1, 4)):
            damaged[at] ^= 1 << rng.integers(8)
        cut = rng.integers(1, len(damaged)) if rng.random() < 0.3 else len(damaged)
        write(path, bytes(damaged[:cut]))
        try:
            pixels = read_pixels(path)
        except BadFiles:
            num_refused += 1
        else:
            assert pixels.ndim in (2, 3)
            assert max(pixels.shape) <= MAX_SIDE
    assert num_refused >= (400 if suffix == ".png" else 100)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("value", [0, 1, 255])
def test_as_mask_takes_0_and_1_or_0_and_255(tmp_path, dtype, value):
    pixels = np.array([[0, value]], dtype)
    for page in (Page(pixels=pixels), Page(pixels=np.stack([pixels] * 3, axis=-1))):
        assert (as_mask(tmp_path, page).bits > 0).tolist() == [[False, value > 0]]
        assert as_mask(tmp_path, page).note == ""


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_as_mask_takes_the_given_labels(tmp_path, dtype):
    pixels = np.array([[0, 1, 2, 4]], dtype)
    found = as_mask(tmp_path, Page(pixels=pixels), parse_regions((), (1, 4)))
    assert (found.bits > 0).tolist() == [[False, True, False, True]]
    assert (as_mask(tmp_path, Page(pixels=pixels), parse_regions((), (300,))).bits > 0).tolist() == [[False] * 4]


@pytest.mark.parametrize(
    ("pixels", "labels", "reason"),
    [
        (
            np.array([[0, 1, 2]], np.uint8),
            (),
            r"mask values are 0, 1, 2, but must be 0 and one other value; .* --labels which",
        ),
        (np.array([[0, 1, 255]], np.uint8), (), r"mask values are 0, 1, 255, but"),
        (np.arange(9, dtype=np.int16)[None] - 1, (), r"mask values are -1, 0, 1, 2, 3, 4, \.\.\., but"),
        (np.array([[0, 0.5, 1]], np.float32), (), r"mask values are 0, 0\.5, 1, but must be"),
        (np.array([[7, 7]], np.uint8), (), r"mask values are 7, but must be"),
        (np.array([[0, 128, 255]], np.uint8), (), r"mask values are 0, 128, 255, but must be"),
        (np.array([[0, 1, 2, 255]], np.uint8), (), r"mask values are 0, 1, 2, 255, but must be"),
        (
            np.array([[0, 0.5]], np.float32),
            (1,),
            r"mask values are 0, 0\.5, but labels are whole numbers; save it unscaled",
        ),
        (
            np.array([[[0, 0, 255]]], np.uint8),
            (),
            r"the mask is coloured, but must have one channel; save it as grey values",
        ),
        (np.array([[[0, 0, 255]]], np.uint8), (255,), r"the mask is coloured"),
    ],
)
def test_as_mask_says_what_is_wrong(tmp_path, pixels, labels, reason):
    with pytest.raises(BadFiles) as caught:
        as_mask(tmp_path / "m.png", Page(pixels=pixels), parse_regions((), labels))
    (problem,) = caught.value.problems
    assert problem.path == tmp_path / "m.png"
    assert re.match(reason, problem.reason)


def test_formats_are_known_by_suffixes_in_lower_case():
    assert set(FORMAT_OF_SUFFIX) == {".tif", ".tiff", ".png", ".jpg", ".jpeg"}


# --- kinds of TIFF that other tools write ---


def pil(compression):
    return lambda path, pixels: Image.fromarray(pixels).save(path, compression=compression)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd", "jpeg", "lzma"])
@pytest.mark.parametrize("shape", [(16, 24), (16, 24, 3)])
def test_read_pixels_decodes_compressions_without_further_packages(tmp_path, compression, shape):
    pixels = np.broadcast_to(np.arange(24, dtype=np.uint8)[:, None] * 9, (16, 24, 3))[..., : shape[-1]].reshape(-1)
    pixels = np.resize(pixels, shape) if compression != "jpeg" else np.full(shape, 90, np.uint8)
    pil(compression)(tmp_path / "a.tif", pixels)
    read = read_pixels(tmp_path / "a.tif")
    np.testing.assert_allclose(read, pixels, atol=3 if compression == "jpeg" else 0)


def test_read_pixels_names_the_package_that_decodes_a_compression(tmp_path, monkeypatch):
    pil("zstd")(tmp_path / "a.tif", noise(16, 24))
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    assert re.match(
        "its compression ZSTD cannot be decoded here: pip install imagecodecs, or", reason_of(tmp_path / "a.tif")
    )


def test_read_pixels_takes_bits_of_a_fax(tmp_path):
    bits = noise(16, 24) > 99
    Image.fromarray(bits).save(tmp_path / "a.tif", compression="group4")
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.tif"), bits)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "int64"])
def test_read_pixels_takes_signed_and_wide_integers(tmp_path, dtype):
    pixels = np.array([[-3 if dtype[0] == "i" else 3, 100], [0, 7]], dtype)
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    read = read_pixels(tmp_path / "a.tif")
    assert read.dtype == (dtype if dtype != "int64" else "int32")
    np.testing.assert_array_equal(read, pixels)


def test_read_pixels_shows_the_colours_of_a_tiff_with_a_palette(tmp_path):
    colormap = np.zeros((3, 256), np.uint16)
    colormap[:, 5] = 0xFF00, 0x1000, 0
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 5]], np.uint8), photometric="palette", colormap=colormap)
    assert read_pixels(tmp_path / "a.tif").tolist() == [[[0, 0, 0], [255, 16, 0]]]


def test_read_pixels_takes_alpha_that_hides_only_black(tmp_path):
    rgba = noise(5, 7, 4)
    rgba[..., 3] = 255
    rgba[:2] = 0
    np.testing.assert_array_equal(read_pixels(write(tmp_path / "a.png", encoded(".png", rgba))), rgba[..., :3])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a Git LFS pointer, not the data"),
        (b"\n<!DOCTYPE html><html>", "is a web page, not the data"),
        (b"PK\x03\x04 zip", "is a zip archive: unpack it"),
        (b"\x1f\x8b gzip", "is compressed by gzip"),
    ],
)
def test_read_pixels_says_what_a_file_is_that_is_no_image(tmp_path, content, reason):
    assert re.match(reason, reason_of(write(tmp_path / "a.png", content)))


@pytest.mark.parametrize(
    ("array", "shape"),
    [(noise(5, 7), (5, 7)), (noise(5, 7, 3), (5, 7, 3)), (noise(5, 7) > 9, (5, 7)), (noise(1, 9, 8), (9, 8))],
)
def test_read_pixels_takes_numpy_files(tmp_path, array, shape):
    np.save(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.npy"), array.reshape(shape))


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (noise(4, 9, 8), "holds 4 pages, but must hold one slice"),
        (np.zeros(9), "is 9, but must be slices x height x width"),
        (np.zeros((4, 9, 8, 70)), "has 70 values along its last axis, which holds the channels, at most 64"),
        (np.array([["a"]]), "holds values of <U1, but must hold integers or floating"),
        (np.full((9, 9), np.nan), "81 values are NaN"),
    ],
)
def test_read_pixels_says_what_is_wrong_with_a_numpy_file(tmp_path, array, reason):
    np.save(tmp_path / "a.npy", array)
    assert re.match(reason, reason_of(tmp_path / "a.npy"))


def test_read_pixels_refuses_objects_and_half_a_numpy_file(tmp_path):
    np.save(tmp_path / "a.npy", noise(9, 9))
    write(tmp_path / "a.npy", (tmp_path / "a.npy").read_bytes()[:-5])
    assert re.match(r"cannot be decoded as NumPy", reason_of(tmp_path / "a.npy"))
    np.save(tmp_path / "b.npy", np.array([[{}]], object), allow_pickle=True)
    assert re.match(r"holds values of object", reason_of(tmp_path / "b.npy"))
