"""What is kept of a patient, and what is odd about it."""

import numpy as np
import pytest

from data.inspect import duplicates
from data.inspect.duplicates import Match, exact_duplicates, near_duplicates
from data.inspect.findings import find
from data.inspect.summary import quantiles
from tests.support.inspected import channel, drawn, squares, summary_of


def test_summarise_counts_by_hand():
    images, masks = squares(3, tumour=(1,), channels=2)
    images[2] = 0
    one = summary_of("A", images, masks, numbers=(3, 4, 7), group="G", spacing_mm=(2.0, 1.0, 0.5))
    assert (one.id, one.group, one.numbers, one.gaps, one.size) == ("A", "G", (3, 4, 7), ((5, 6),), (16, 16))
    assert one.tumour_pixels.tolist() == [0, 16, 0]
    assert one.tumour_share == 16 / (3 * 256)
    assert one.blank.tolist() == [False, False, True]
    assert one.channels[0].counts.sum() == 3 * 256
    assert one.channels[0].head_counts.sum() == 2 * 144
    assert [c.name for c in one.channels] == ["channel 0", "channel 1"]
    assert not one.looks[2].any()
    assert np.linalg.norm(one.looks[:2], axis=1) == pytest.approx(1, abs=1e-5)


def test_summarise_does_not_count_a_hole_of_the_head_as_outside():
    images, masks = squares(1, size=40)
    images[:, 10:30, 10:30] = 0
    masks[:, 12:18, 12:18] = True
    assert summary_of("A", images, masks).outside_pixels.tolist() == [0]
    masks[:, :2, :20] = True
    images[:, :5], images[:, :2, :5] = 0, 200  # a speck of noise is no head
    assert summary_of("A", images, masks).outside_pixels.tolist() == [40]


def test_find_names_a_single_missing_number():
    images, masks = squares(3, size=40, tumour=(1,))
    found = find([summary_of("A", images, masks, numbers=(3, 5, 6))])
    assert [(one.kind, one.text) for one in found] == [("gap in slice numbers", "1 slice number missing: 4")]


@pytest.mark.parametrize(("rows", "finds"), [(20, True), (19, False)])
def test_find_ignores_a_mask_that_is_outside_by_few_pixels(rows, finds):
    images, masks = squares(1, size=40)
    masks[:, :rows, 0] = True
    found = find([summary_of("A", images, masks)])
    assert ("mask outside the head" in [finding.kind for finding in found]) is finds


def test_find_ignores_a_mask_that_is_outside_by_a_small_share():
    images, masks = squares(1, size=40)
    masks[:, :20, 0] = True
    masks[:, 10:20, 10:16] = True  # 60 inside: a share of a quarter is not more than one
    assert "mask outside the head" not in [finding.kind for finding in find([summary_of("A", images, masks)])]


def test_exact_duplicates_need_the_same_type_and_are_never_blank():
    images, _ = squares(2)
    images[1] = 0
    same = summary_of("B", images.copy())
    assert exact_duplicates([summary_of("A", images), same]) == [Match((0, 0), (1, 0))]
    assert exact_duplicates([summary_of("A", images), summary_of("B", images.view(np.int8))]) == []


@pytest.mark.parametrize("block", [1, 5, 1000])
def test_near_duplicates_are_found_across_blocks_and_patients_only(monkeypatch, block):
    monkeypatch.setattr(duplicates, "_BLOCK", block)
    volumes = [drawn(k)[0].copy() for k in (1, 2, 3)]
    volumes[2][7] = np.clip(0.7 * volumes[0][3] + 5, 0, 255).astype(np.uint8)
    volumes[1][4] = np.maximum(volumes[1][5], 3) - 2  # a neighbour
    volumes[1][9] = volumes[0][9]  # exact
    found = near_duplicates([summary_of(name, volume) for name, volume in zip("ABC", volumes, strict=True)])
    assert [(match.first, match.second) for match in found] == [((0, 3), (2, 7))]
    assert 0.99 < found[0].correlation <= 1


def test_near_duplicates_leave_out_nearly_black_slices():
    image = np.zeros((1, 128, 128, 1), np.uint8)
    image[:, 60:70, 60:70] = 200
    assert near_duplicates([summary_of("A", image), summary_of("B", image - (image > 0))]) == []


def test_quantiles_weigh_values_by_their_counts():
    channels = [channel([0, 10], [50, 10]), channel([5], [40], [0])]
    assert quantiles(channels, (0.0, 0.5, 0.51, 0.9, 0.91, 1.0)).tolist() == [0, 0, 5, 5, 10, 10]
    assert quantiles(channels, (0.5, 0.99), head=True).tolist() == [0, 10]


def test_sampled_quantiles_are_near_the_true_ones():
    values = np.random.default_rng(1).normal(0, 100, (20, 64, 64, 1)).astype(np.float32)
    one = summary_of("A", values)
    assert len(one.channels[0].values) <= 10_000
    assert one.channels[0].counts.sum() == pytest.approx(values.size, rel=1e-4)
    assert (one.channels[0].low, one.channels[0].high) == (values.min(), values.max())
    assert quantiles(one.channels, (0.1, 0.5)) == pytest.approx(np.quantile(values, (0.1, 0.5)), abs=6)
