"""What the values of a mask mean: JPEG noise, colours, palettes, overlays and any two values; and what is refused."""

import re

import cv2
import numpy as np
import pytest
from PIL import Image

from data.errors import BadFiles
from data.patient import SliceFiles, SlicePatient
from data.readers.image_files.mask import NOISE_NOTE, PALETTE_NOTE, as_mask
from data.readers.image_files.pair import ReadPair
from data.readers.image_files.picture import read_pages
from data.regions import parse_regions

Y, X = np.mgrid[:40, :48]
TUMOUR = (Y - 18) ** 2 + (X - 25) ** 2 < 90
SMALL = (abs(Y - 18) < 2) & (abs(X - 25) < 2)
ZERO = np.zeros(TUMOUR.shape, np.uint8)


def read(path, labels=()):
    (page,) = read_pages(path)
    return as_mask(path, page, parse_regions((), labels))


def refusal(path, labels=()):
    with pytest.raises(BadFiles) as caught:
        read(path, labels)
    (problem,) = caught.value.problems
    return problem.reason


def as_jpeg(path, mask, quality=95):
    cv2.imwrite(str(path), mask.astype(np.uint8) * 255, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return path


def grey(path):
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    return pixels


@pytest.mark.parametrize("quality", [50, 75, 95, 100])
@pytest.mark.parametrize("tumour", [TUMOUR, SMALL], ids=["large", "small"])
@pytest.mark.parametrize("saved_again", [False, True])
def test_a_mask_that_jpeg_changed_is_read_by_a_threshold(tmp_path, quality, tumour, saved_again):
    path = as_jpeg(tmp_path / "m.jpg", tumour, quality)
    if saved_again:
        cv2.imwrite(str(tmp_path / "m.png"), grey(path))
        path = tmp_path / "m.png"
    try:
        mask = read(path)
    except BadFiles:  # few values that may be labels
        assert saved_again
        assert len(np.unique(grey(path))) <= 16
        return
    assert ((mask.bits > 0) != tumour).sum() <= (4 if tumour is SMALL else 12)
    assert mask.note in ("", NOISE_NOTE)


def test_a_black_jpeg_has_no_tumour(tmp_path):
    mask = read(as_jpeg(tmp_path / "m.jpg", ZERO))
    assert not (mask.bits > 0).any()
    assert mask.note == ""


def test_a_jpeg_without_two_modes_is_refused_with_its_values(tmp_path):
    cv2.imwrite(str(tmp_path / "a.jpg"), TUMOUR.astype(np.uint8) * 90)
    assert re.match(r"mask values are 0, 1, 2, .*, but must be 0 and one other value", refusal(tmp_path / "a.jpg"))
    cv2.imwrite(str(tmp_path / "b.png"), (X * 5).astype(np.uint8))
    assert re.match(r"mask values are 0, 5, 10, 15, 20, 25, \.\.\., but", refusal(tmp_path / "b.png"))


@pytest.mark.parametrize("labels", [(255,), (254, 255), (1,)])
def test_labels_are_refused_while_noise_is_not_listed(tmp_path, labels):
    reason = refusal(as_jpeg(tmp_path / "m.jpg", TUMOUR, 75), labels)
    assert re.match(r"mask values are 0, 1, .*, \.\.\., and --labels or --regions does not list ", reason)
    assert "if it is a mask of 0 and 255, give no --labels" in reason


def test_labels_may_leave_out_other_tissue(tmp_path):
    values = np.where(TUMOUR, 4, np.where(X > 40, 2, 0)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "m.png"), values)
    np.testing.assert_array_equal((read(tmp_path / "m.png", (1, 4)).bits > 0), TUMOUR)
    assert re.match(r"mask values are 0, 2, 4, but must be .* --labels", refusal(tmp_path / "m.png"))


def test_labels_are_at_most_sixteen(tmp_path):
    cv2.imwrite(str(tmp_path / "m.png"), (X % 18).astype(np.uint8))
    assert re.match(r"mask values are 0, 1, .*does not list 2, 3", refusal(tmp_path / "m.png", (1,)))


@pytest.mark.parametrize("value", [2, 128, 200])
def test_any_two_values_are_a_mask_with_a_note(tmp_path, value):
    cv2.imwrite(str(tmp_path / "m.png"), TUMOUR.astype(np.uint8) * value)
    mask = read(tmp_path / "m.png")
    np.testing.assert_array_equal((mask.bits > 0), TUMOUR)
    assert mask.note == f"masks hold 0 and {value}, which is tumour"


RGBA_OVERLAY = np.dstack([TUMOUR * 255, ZERO, ZERO, TUMOUR * 255]).astype(np.uint8)
HALF_OVERLAY = np.dstack([ZERO, TUMOUR * 255, ZERO, TUMOUR * 100]).astype(np.uint8)
ON_WHITE = np.dstack([np.where(TUMOUR, 200, 255), *[np.where(TUMOUR, 0, 255)] * 2, TUMOUR * 255]).astype(np.uint8)
GREY_ALPHA = np.dstack([TUMOUR * 255, TUMOUR * 255]).astype(np.uint8)
RED, GREEN = (np.dstack([TUMOUR * 255 if k == c else ZERO for k in range(3)]).astype(np.uint8) for c in (0, 1))


def palette_image(colours, indices=None):
    picture = Image.fromarray(TUMOUR.astype(np.uint8) if indices is None else indices)
    picture = picture.convert("L")
    picture.putpalette([value for colour in colours for value in colour])
    return picture


@pytest.mark.parametrize(
    ("picture", "note"),
    [
        (Image.fromarray(RGBA_OVERLAY), "masks show tumour as colour (255, 0, 0) on black"),
        (Image.fromarray(HALF_OVERLAY), "masks show tumour as colour (0, 255, 0) on black"),
        (Image.fromarray(ON_WHITE), "masks show tumour as colour (200, 0, 0) on black"),
        (Image.fromarray(GREY_ALPHA, mode="LA"), ""),
        (Image.fromarray(RED), "masks show tumour as colour (255, 0, 0) on black"),
        (Image.fromarray(GREEN), "masks show tumour as colour (0, 255, 0) on black"),
        (palette_image([(0, 0, 0), (128, 0, 0)]), PALETTE_NOTE),
        (palette_image([(0, 0, 0), (128, 0, 0)] + [(0, 0, 0)] * 254), PALETTE_NOTE),
        (palette_image([(0, 0, 0), (255, 255, 255)]), ""),
        (palette_image([(10, 20, 90), (200, 30, 30)]), PALETTE_NOTE),
    ],
)
def test_colours_whose_meaning_is_plain_are_read(tmp_path, picture, note):
    picture.save(tmp_path / "m.png")
    mask = read(tmp_path / "m.png")
    np.testing.assert_array_equal((mask.bits > 0), TUMOUR)
    assert mask.note == note


def test_a_palette_whose_background_is_another_index_is_read_by_its_colours(tmp_path):
    palette_image([(255, 0, 0), (0, 0, 0)], (~TUMOUR).astype(np.uint8)).save(tmp_path / "m.png")
    np.testing.assert_array_equal((read(tmp_path / "m.png").bits > 0), TUMOUR)


def test_a_palette_of_labels_takes_labels(tmp_path):
    values = np.where(TUMOUR, 2, X > 44).astype(np.uint8)
    palette_image([(0, 0, 0), (0, 128, 0), (128, 0, 0)], values).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read(tmp_path / "m.png", (2,)).bits > 0, TUMOUR)
    assert re.match("mask values are 0, 1, 2, but", refusal(tmp_path / "m.png"))


def test_a_red_jpeg_is_read(tmp_path):
    Image.fromarray(RED).save(tmp_path / "m.jpg", quality=90)
    mask = read(tmp_path / "m.jpg")
    assert ((mask.bits > 0) != TUMOUR).sum() <= 16
    assert mask.note == NOISE_NOTE


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (
            np.dstack([TUMOUR * 255, (X > 44) * 255, ZERO]),
            r"the mask is coloured, .*shows \(0, 0, 0\), \(0, 255, 0\), ",
        ),
        (np.dstack([np.where(TUMOUR, 255, 9), ZERO, ZERO]), r"the mask is coloured"),
        (np.dstack([ZERO, ZERO, ZERO, TUMOUR * 255]), r"the mask is black on a transparent ground"),
        (np.dstack([TUMOUR * 255, ZERO, ZERO, X * 5]), r"its alpha channel is not opaque"),
    ],
)
def test_colours_whose_meaning_is_not_plain_are_refused(tmp_path, picture, reason):
    Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "m.png")
    assert re.match(reason, refusal(tmp_path / "m.png"))


def test_an_overlay_without_tumour_is_empty(tmp_path):
    Image.fromarray(np.dstack([ZERO] * 4)).save(tmp_path / "m.png")
    assert not (read(tmp_path / "m.png").bits > 0).any()
    Image.fromarray(np.dstack([ZERO, ZERO + np.uint8(9), ZERO, ZERO])).save(tmp_path / "m.png")
    assert not (read(tmp_path / "m.png").bits > 0).any()


# --- a patient ---


def patient_of(tmp_path, *masks):
    slices = []
    for number, mask in enumerate(masks):
        files = SliceFiles(number=number, image=tmp_path / f"{number}.png", mask=tmp_path / f"{number}_mask.png")
        cv2.imwrite(str(files.image), ZERO)
        cv2.imwrite(str(files.mask), mask)
        slices.append(files)
    return SlicePatient(id="P", slices=tuple(slices), read_slice=ReadPair())


def test_notes_of_a_patient_are_said_once(tmp_path):
    volume = patient_of(tmp_path, TUMOUR * 128, ZERO, SMALL * 128).read()
    assert volume.notes == ("masks hold 0 and 128, which is tumour",)
    np.testing.assert_array_equal(volume.masks, [TUMOUR, ZERO > 0, SMALL])


def test_slices_of_different_values_may_be_labels_and_are_refused(tmp_path):
    with pytest.raises(BadFiles, match=r"2_mask\.png: in it, masks hold 0 and 3, .*; but in other slices of patient P"):
        patient_of(tmp_path, TUMOUR * 2, SMALL * 2, SMALL * 3).read()
