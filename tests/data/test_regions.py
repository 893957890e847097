"""Regions of a tumour: their options, their masks as bits, and the labels that masks become."""

import numpy as np
import pytest

from data.errors import DataError
from data.regions import NAMED, WHOLE, Region, decode, encode, nest, parse_regions, to_labels

BRATS = parse_regions(("brats2021",))
LABELS = np.array([[0, 1, 2], [4, 3, 0]], np.uint8)


def test_parse_regions_of_nothing_is_the_whole_tumour():
    assert parse_regions(()) == WHOLE
    assert parse_regions((), labels=(1, 4)) == (Region(name="tumour", labels=(1, 4)),)


def test_parse_regions_by_labels_and_by_name():
    expected = (Region(name="WT", labels=(1, 2, 4)), Region(name="TC", labels=(1, 4)), Region(name="ET", labels=(4,)))
    assert parse_regions(("WT=4,1,2", "TC=1, 4", "ET=4")) == BRATS == expected
    assert parse_regions(("BraTS2023",))[2] == Region(name="ET", labels=(3,))
    assert all(len(parse_regions((name,))) == 3 for name in NAMED)


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (
            ("WT",),
            (),
            "region is 'WT', but must be a name and its labels, such as WT=1,2,4, or one of brats2013, brats2021",
        ),
        (("WT=",), (), "region is 'WT='"),
        (("WT=1,x",), (), "region is 'WT=1,x'"),
        (("=1",), (), "region is '=1'"),
        (("../x=1",), (), "region is"),
        (("Tumour=1", "ET=4"), (), "a region is called tumour, which stands for all regions together"),
        (("WT=0,1",), (), "labels are 0, 1, but must be 1 to 65535"),
        (("A=1", "a=2"), (), "regions are A, a, but must have different names"),
        (tuple(f"R{n}=1" for n in range(9)), (), "and be at most 8"),
        (("brats2021", "A=1"), (), "region is 'brats2021'"),
        (("WT=1",), (1,), "--regions and --labels exclude each other"),
        ((), (0,), "labels are 0, but must be 1 to 65535"),
    ],
)
def test_parse_regions_refuses(texts, labels, message):
    with pytest.raises(DataError, match=message):
        parse_regions(texts, labels)


def test_masks_of_regions_are_bits():
    bits = encode(LABELS, BRATS)
    assert bits.tolist() == [[0, 0b011, 0b001], [0b111, 0, 0]]
    masks = decode(bits, 3)
    assert masks.dtype == bool
    for region, mask in zip(BRATS, masks, strict=True):
        np.testing.assert_array_equal(mask, np.isin(LABELS, region.labels))


def test_the_mask_of_one_region_is_0_and_1():
    np.testing.assert_array_equal(encode(LABELS, WHOLE), LABELS > 0)
    np.testing.assert_array_equal(encode(LABELS, parse_regions((), (2, 4))), np.isin(LABELS, (2, 4)))


def test_labels_come_back_from_the_masks_of_nested_regions():
    np.testing.assert_array_equal(to_labels(decode(encode(LABELS, BRATS), 3), BRATS), np.where(LABELS == 3, 0, LABELS))
    assert to_labels(decode(encode(LABELS, BRATS), 3), BRATS).dtype == np.uint8
    whole = to_labels(decode(encode(LABELS, WHOLE), 1), WHOLE)
    np.testing.assert_array_equal(whole, LABELS > 0)


def test_labels_of_regions_do_not_depend_on_their_order():
    mixed = BRATS[::-1]
    np.testing.assert_array_equal(to_labels(decode(encode(LABELS, mixed), 3), mixed), np.where(LABELS == 3, 0, LABELS))


@pytest.mark.parametrize(
    ("texts", "inside", "label"),
    [
        (("A=1,2", "B=2,3"), (False, True), 3),
        (("A=1,2", "B=2,3"), (True, False), 1),
        (("A=1,2", "B=2,3"), (True, True), 2),
        (("A=1,2", "B=1", "C=2"), (True, False, False), 1),  # no label is in A alone: the lowest of those in one more
        (("WT=1,2,4", "TC=1,4", "ED=2"), (True, False, True), 2),
        (("A=1", "B=2"), (True, True), 1),  # no label is in both
    ],
)
def test_a_voxel_gets_the_label_of_just_its_regions(texts, inside, label):
    assert to_labels(np.array(inside)[:, None], parse_regions(texts)).tolist() == [label]


def test_labels_above_255_need_two_bytes():
    regions = parse_regions(("A=300", "B=7"))
    assert to_labels(np.eye(2, dtype=bool), regions).tolist() == [300, 7]


def test_nested_masks_stay_inside_the_outer_ones():
    masks = np.array([[True, False, True], [True, True, False], [True, True, True]])
    assert nest(masks, BRATS).tolist() == [[True, False, True], [True, False, False], [True, False, False]]
    side_by_side = parse_regions(("A=1", "B=2"))
    np.testing.assert_array_equal(nest(masks[:2], side_by_side), masks[:2])
    np.testing.assert_array_equal(nest(masks[:1], WHOLE), masks[:1])
