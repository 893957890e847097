"""Numbers, pictures and figures of an inspection."""

from dataclasses import replace

import numpy as np
import pytest

from data.inspect.facts import facts
from data.inspect.figures import MAX_GROUPS, Balance, balance, histograms, largest_groups, shares
from data.inspect.pictures import NUM_PICTURES, OUTLINE, choose_slices, draw_outline
from tests.support.inspected import channel, squares, summary_of


def test_facts_of_patients_without_tumour_and_of_many_sizes():
    summaries = [summary_of(str(n), squares(1, size=n)[0]) for n in range(10, 35)]
    rows = dict(facts("folder", summaries, split="", seed=0))
    assert rows["lesion volume per patient"] == "no patient has a tumour"
    assert rows["slice sizes (slices)"].count("\n") == 20
    assert rows["slice sizes (slices)"].endswith("and 5 more")


# --- figures ---


def test_choose_takes_the_extreme_lesions_and_a_seeded_sample():
    images, masks = squares(8, tumour=(1, 2, 5))
    masks[5, 10:12, 10:12] = True
    summaries = [summary_of("A", images, masks), summary_of("B", images, masks & (np.arange(8) == 2)[:, None, None])]
    chosen = choose_slices(summaries, seed=0)
    assert chosen[0] == ("largest lesion, 52 pixels: A, slice 6", 0, 5)
    assert chosen[1] == ("smallest lesion, 16 pixels: B, slice 3", 1, 2)
    sample = chosen[2:]
    assert len({(p, s) for _, p, s in sample}) == len(sample) == NUM_PICTURES
    ill = [bool(summaries[p].tumour_pixels[s]) for _, p, s in sample]
    assert ill == [True] * 4 + [False] * 4
    assert choose_slices(summaries, seed=0) == chosen
    assert choose_slices(summaries, seed=1) != chosen


def test_draw_outline_lies_just_outside_the_mask():
    mask = np.zeros((256, 256), bool)
    mask[100:110, 50:60] = True
    drawn = (draw_outline(np.full((256, 256), 9, np.uint8), mask) == OUTLINE).all(axis=2)
    ring = np.zeros_like(mask)
    ring[99:111, 49:61] = True
    assert np.array_equal(drawn, ring & ~mask)


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [((128, 100), (256, 200)), ((240, 300), (240, 300)), ((1024, 10), (400, 4)), ((100, 1), (300, 3))],
)
def test_draw_outline_scales_the_slice_to_a_visible_size(shape, drawn):
    assert draw_outline(np.zeros(shape, np.uint8), np.zeros(shape, bool)).shape == (*drawn, 3)


def test_histograms_of_whole_numbers_have_no_comb():
    images, _ = squares(1)
    flat = channel(range(20, 150), [1] * 130)  # 130 levels into bins of 3
    figure = histograms([replace(summary_of("A", images, group="G"), channels=(flat,))])
    heights = [float(point.split(",")[1]) for point in figure.groups["G"][0][1].split()]
    assert set(heights[:43]) == {0.0}
    assert figure.ticks[0] == (0.0, "20")


def test_histograms_and_bars_show_the_largest_groups_only():
    images, masks = squares(4, tumour=(0,))
    summaries = [
        summary_of(f"{g} {k}", images, masks, group=f"g{g:02}") for g in range(15) for k in range(1 + (g == 14))
    ]
    assert list(largest_groups(summaries)) == ["g14", *(f"g{g:02}" for g in range(MAX_GROUPS - 1))]
    assert len(histograms(summaries).groups) == MAX_GROUPS
    assert balance(summaries)[0] == Balance(name="g14", tumour=2, total=8, width=75.0)


def test_shares_are_bars_from_the_largest_down():
    images, masks = squares(1, size=20, tumour=(0,))
    figure = shares([summary_of("A", images), summary_of("B", images, masks)])
    assert (figure.top, figure.count) == ("4", 2)
    assert figure.path == "M0.00 120.0v-120.00h127.50V120.0zM150.00 120.0v-0.00h127.50V120.0z"
