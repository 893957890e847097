"""The inspection of a data set: every kind of finding where it was planted and nowhere else, and numbers by hand."""

import base64
import functools
import re
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import nibabel
import numpy as np
import pytest
import tifffile

from data.inspect import findings
from data.inspect.__main__ import main, summarise
from data.inspect.findings import Channel, Match, Summary, exact_duplicates, find, near_duplicates, quantiles
from data.inspect.page import (
    MAX_GROUPS,
    NUM_PICTURES,
    OUTLINE,
    balance,
    choose,
    draw_outline,
    facts,
    histograms,
    largest_groups,
    shares,
)
from data.patient import Patient, Volume
from data.phantom import draw_patient
from data.printable import printable
from data.split import split_patients

EVIL = "<script>alert(1)<b>"
KINDS = [
    "unusable file",
    "same pixels",
    "look alike",
    *findings.CHECKS,
    *findings.DIFFERENCES,
]


@functools.cache
def drawn(k):
    return draw_patient(0, k)


class Case:
    """The slices of a phantom, to be spoilt and written in the LGG layout."""

    def __init__(self, k: int) -> None:
        images, masks = drawn(k)
        self.images, self.masks, self.numbers = list(images), list(masks), list(range(1, 13))

    def all_images(self, change) -> None:
        self.images = [change(image.copy()) for image in self.images]

    def keep(self, indices) -> None:
        for name in ("images", "masks", "numbers"):
            setattr(self, name, [getattr(self, name)[index] for index in indices])

    def write(self, folder) -> None:
        folder.mkdir(parents=True)
        for image, mask, number in zip(self.images, self.masks, self.numbers, strict=True):
            kind = "rgb" if image.shape[2:] == (3,) else "minisblack"
            tifffile.imwrite(folder / f"{folder.name}_{number}.tif", image, photometric=kind)
            tifffile.imwrite(folder / f"{folder.name}_{number}_mask.tif", mask.astype(np.uint8) * 255)


class Memory(Patient):
    """A patient without files."""

    def __init__(self, name: str, images, masks=None, *, spacing_mm=None, numbers=None, group="") -> None:
        masks = np.zeros(images.shape[:3], bool) if masks is None else masks
        numbers = tuple(range(1, len(images) + 1)) if numbers is None else numbers
        self.id, self.group = name, group
        self.volume = Volume(images=images, masks=masks, numbers=numbers, spacing_mm=spacing_mm)

    files = ()

    def read(self):
        return self.volume

    def without(self, paths):
        return self


def summary_of(*args, **options) -> Summary:
    patient = Memory(*args, **options)
    return summarise(patient, patient.read())


def squares(num_slices=3, *, size=16, tumour=(), channels=1) -> tuple[np.ndarray, np.ndarray]:
    """Return noise in a frame of black, and masks of 4 x 4 pixels in the slices of tumour."""
    images = np.zeros((num_slices, size, size, channels), np.uint8)
    images[:, 2:-2, 2:-2] = np.random.default_rng(0).integers(100, 256, images[:, 2:-2, 2:-2].shape)
    masks = np.zeros(images.shape[:3], bool)
    masks[list(tumour), 4:8, 4:8] = True
    return images, masks


def channel(values, counts, head_counts=None, *, name="c") -> Channel:
    values, counts = np.array(values, np.float32), np.array(counts, np.float32)
    head = counts if head_counts is None else np.array(head_counts, np.float32)
    return Channel(
        name=name, low=float(values.min()), high=float(values.max()), values=values, counts=counts, head_counts=head
    )


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="module")
def three_phantoms():
    return {name: Case(k) for k, name in enumerate("ABC", 1)}


def inspect(capsys, source, *options) -> tuple[list[tuple[str, str, str]], str]:
    """Return the findings (kind, where, text) that were printed, and all of the output."""
    assert main([str(source), *map(str, options)]) == 0
    out = capsys.readouterr().out
    kinds = "|".join(map(re.escape, KINDS))
    return re.findall(rf"^  ({kinds}): (.*?): (.*)$", out, re.MULTILINE), out


def write(source, cases) -> None:
    for name, case in cases.items():
        case.write(source / name)


def spoil_exact(cases):
    cases["B"].images[3] = cases["A"].images[5]


def spoil_exact_within(cases):
    cases["B"].images[3] = cases["B"].images[5]


def spoil_near(cases):
    noise = np.random.default_rng(0).normal(0, 2, (128, 128, 3))
    cases["B"].images[4] = np.clip(0.8 * cases["A"].images[6] + noise, 0, 255).astype(np.uint8)


def spoil_outside(cases):
    cases["B"].masks[5] = np.zeros((128, 128), bool)
    cases["B"].masks[5][:10, :3] = True


def spoil_black(cases):
    for index in (0, 11):
        cases["B"].images[index], cases["B"].masks[index] = (
            np.zeros((128, 128, 3), np.uint8),
            np.zeros((128, 128), bool),
        )


def spoil_black_channel(cases):
    cases["B"].images[0] = cases["B"].images[0] * np.array([1, 0, 1], np.uint8)


def spoil_tumour(cases):
    cases["B"].masks = [np.zeros_like(mask) for mask in cases["B"].masks]


def spoil_numbers(cases):
    cases["B"].numbers = [1, 2, 4, 5, 6, 7, 8, 12, 13, 14, 15, 999_999_999]


def spoil_constant(cases):
    def change(image):
        image[..., 2] = 7
        return image

    cases["B"].all_images(change)


def spoil_copy(cases):
    cases["B"].all_images(lambda image: image[..., [0, 1, 0]])


def spoil_single(cases):
    cases["B"].keep([int(np.argmax([mask.sum() for mask in cases["B"].masks]))])


def spoil_size(cases):
    cases["B"].all_images(lambda image: image[:, :120])
    cases["B"].masks = [mask[:, :120] for mask in cases["B"].masks]


def spoil_type(cases):
    cases["B"].all_images(lambda image: image.astype(np.uint16) * 257)


def spoil_channels(cases):
    cases["B"].all_images(lambda image: image[..., 1])


SPOILT = {
    "same pixels": (spoil_exact, "A", "1 slice as in B, such as number 6 and its number 4"),
    "same pixels ": (spoil_exact_within, "B", "1 slice as in itself, such as number 4 and its number 6"),
    "look alike": (
        spoil_near,
        "A",
        r"1 slice as in B, such as number 7 and its number 5, correlation (1\.000|0\.99\d)",
    ),
    "mask outside the head": (spoil_outside, "B", r"30 of 30 tumour pixels lie outside the head in 1 slice \(6\)"),
    "all-black slices": (spoil_black, "B", "2 of 12 slices have one value everywhere"),
    "slices with a black channel": (spoil_black_channel, "B", "flair has one value everywhere in 1 slice"),
    "no tumour": (spoil_tumour, "B", "no mask of this patient has a tumour pixel"),
    "gap in slice numbers": (spoil_numbers, "B", r"999999987 slice numbers missing: 3, 9-11, 16-999999998"),
    "constant channel": (spoil_constant, "B", "post is 7 everywhere"),
    "identical channels": (spoil_copy, "B", "post is a copy of pre"),
    "single slice": (spoil_single, "B", "the patient has one slice only"),
    "sizes differ (information)": (spoil_size, "B", "2 patients with 128 x 128; 1 patient with 128 x 120"),
    "pixel types differ": (spoil_type, "B", "2 patients with uint8; 1 patient with uint16"),
    "numbers of channels differ": (spoil_channels, "B", "2 patients with 3 channels; 1 patient with 1 channel"),
}


def test_every_kind_of_finding_is_tested_here():
    assert {kind.strip() for kind in SPOILT} | {"unusable file"} == set(KINDS)


@pytest.mark.parametrize("kind", SPOILT)
def test_inspect_finds_what_was_planted_and_nothing_else(tmp_path, capsys, kind):
    spoil, where, text = SPOILT[kind]
    cases = {name: Case(k) for k, name in enumerate("ABC", 1)}
    spoil(cases)
    write(tmp_path, cases)
    found, out = inspect(capsys, tmp_path)
    assert [(kind, where) for kind, where, _ in found] == [(kind.strip(), where)]
    assert re.fullmatch(text, found[0][2])
    assert "1 finding(s):" in out


def test_inspect_finds_nothing_in_phantoms_and_says_so(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, out = inspect(capsys, "phantom:3")
    assert found == []
    assert "Nothing odd was found." in out
    assert list(tmp_path.iterdir()) == []


def test_inspect_calls_neighbours_within_a_patient_no_duplicates(tmp_path, capsys):
    cases = {name: Case(k) for k, name in enumerate("ABC", 1)}
    cases["B"].images[4] = np.where(cases["B"].images[5] > 20, cases["B"].images[5] - 1, cases["B"].images[5])
    write(tmp_path, cases)
    assert inspect(capsys, tmp_path)[0] == []


def test_inspect_says_once_what_holds_for_all_patients(tmp_path, capsys):
    cases = {name: Case(k) for k, name in enumerate("ABC", 1)}
    for case in cases.values():
        case.all_images(lambda image: image[..., [1, 1, 1]])
    write(tmp_path, cases)
    text = "flair is a copy of pre, post is a copy of pre, post is a copy of flair"
    assert inspect(capsys, tmp_path)[0] == [("identical channels", "all 3 patients", text)]


def test_inspect_lists_bad_files_and_looks_at_the_rest(tmp_path, capsys, three_phantoms):
    write(tmp_path, three_phantoms)
    truncated, wrong, alone = (tmp_path / name for name in ("A/A_3.tif", "B/B_2_mask.tif", "C/C_12.tif"))
    truncated.write_bytes(truncated.read_bytes()[:1000])
    tifffile.imwrite(wrong, np.full((128, 128), 7, np.uint8))
    (tmp_path / "C/C_12_mask.tif").unlink()
    found, out = inspect(capsys, tmp_path)
    assert [(kind, where) for kind, where, _ in found] == [
        ("unusable file", str(path)) for path in (alone, truncated, wrong)
    ]
    assert [text.split(" (")[0] for *_, text in found[:2]] == ["image without mask", "is truncated"]
    assert rows_of(out)["slices"] == "33"
    assert rows_of(out)["unusable files"] == "3"


def test_inspect_drops_a_patient_that_has_no_file_left(tmp_path, capsys, three_phantoms):
    write(tmp_path, three_phantoms)
    for path in (tmp_path / "C").glob("*_mask.tif"):
        path.write_bytes(b"")
    found, out = inspect(capsys, tmp_path)
    assert [kind for kind, *_ in found] == ["unusable file"] * 12
    assert rows_of(out)["patients"] == "2"
    assert rows_of(out)["split by patient, seed 0"] == "needs at least 3 patients"


def rows_of(out) -> dict[str, str]:
    """Return the printed table; a cell's further lines follow after a semicolon."""
    rows, label = {}, ""
    for left, right in re.findall(r"^[│|](.*?)[│|](.*?)[│|]$", out, re.MULTILINE):
        if left.strip():
            label = left.strip()
            rows[label] = right.strip()
        else:
            rows[label] += "; " + right.strip()
    return rows


def write_tiny(source) -> None:
    """Three patients: A of 2 slices of 8 x 10 and B of 4 with values by hand, C of 2 with a tumour of 16 pixels."""
    for name, levels, tumour in (("TCGA_CS_A", (10, 20), 4), ("TCGA_CS_B", (30, 40, 50, 60), 8), ("C", (70, 80), 16)):
        case = Case.__new__(Case)
        case.images = [np.full((8, 10, 3), level, np.uint8) for level in levels]
        case.masks = [np.zeros((8, 10), bool) for _ in levels]
        case.masks[0].flat[:tumour] = True
        case.numbers = list(range(1, len(levels) + 1))
        case.write(source / name)


def test_inspect_prints_numbers_as_counted_by_hand(tmp_path, capsys):
    write_tiny(tmp_path)
    rows = rows_of(inspect(capsys, tmp_path, "--seed", 5, "--val-fraction", 0.3)[1])
    split = split_patients(("C", "TCGA_CS_A", "TCGA_CS_B"), seed=5, val_fraction=0.3)
    slices = {"TCGA_CS_A": 2, "TCGA_CS_B": 4, "C": 2}
    preview = [
        f"{side}: 1 patient(s), {slices[ids[0]]} slices, 1 with tumour"
        for side, ids in (("train", split.train), ("val", split.val), ("test", split.test))
    ]
    assert rows == {
        "format": "lgg",
        "patients": "3",
        "slices": "8",
        "slices with tumour": "3 (37.5 %)",
        "slices without tumour": "5 (62.5 %)",
        "slice sizes (slices)": "8 x 10 (8)",
        "pixel types (patients)": "uint8 (3)",
        **{
            f"intensity of {name}": "10 to 80; 1st percentile 10, median 40, 99th 80"
            for name in ("pre", "flair", "post")
        },
        "voxel spacing (patients)": "unknown (3)",
        "tumour share per patient": "min 2.5, median 2.5, max 10 %",
        "lesion volume per patient": "min 4, median 8, max 16 pixels",
        "groups (patients)": "TCGA_CS (2); (none) (1)",
        "split by patient, seed 5": "; ".join(preview),
        "duplicates": "0 slice(s) with the same pixels, 0 pair(s) that look alike",
        "unusable files": "0",
    }


def test_inspect_measures_lesions_in_ml_where_the_spacing_is_known(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for number, case in enumerate("AB", 1):
        (tmp_path / case).mkdir()
        labels = np.zeros((20, 20, 5), np.uint8)
        labels[:10, :10, :number] = 4
        affine = np.diag([0.5, 2, 10, 1.0])
        for name, values in (("flair", rng.normal(0, 9, labels.shape).astype(np.float32)), ("seg", labels)):
            nibabel.Nifti1Image(values, affine).to_filename(tmp_path / case / f"{case}_{name}.nii.gz")
    rows = rows_of(inspect(capsys, tmp_path)[1])
    assert rows["format"] == "nifti"
    assert rows["voxel spacing (patients)"] == "10 x 2 x 0.5 mm (2)"
    assert rows["lesion volume per patient"] == "min 1, median 1.5, max 2 ml"
    assert "intensity of flair" in rows
    assert rows["pixel types (patients)"] == "float32 (2)"


def test_inspect_takes_the_options_of_reading(tmp_path, capsys, three_phantoms):
    write(tmp_path, three_phantoms)
    rows = rows_of(inspect(capsys, tmp_path, "--channels", "post", "flair")[1])
    assert [label for label in rows if label.startswith("intensity")] == ["intensity of post", "intensity of flair"]
    assert "intensity of grey" in rows_of(inspect(capsys, tmp_path, "--grayscale")[1])


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("missing", (), "does not exist"),
        ("good", ("--val-fraction", "0"), "val_fraction is 0.0, but must be above 0"),
        ("good", ("--channels", "t9"), "channels is t9"),
        ("good", ("--labels", "1"), "--labels is for"),
        ("good", ("--out", "good/A/A_1.tif"), "File exists"),
        ("bad", (), "holds no file that can be used, out of 6 listed"),
    ],
)
def test_inspect_ends_with_2_and_one_sentence_on_a_mistake(tmp_path, capsys, monkeypatch, source, options, message):
    monkeypatch.chdir(tmp_path)
    if source == "good":
        Case(1).write(tmp_path / "good/A")
    if source == "bad":
        case = Case(1)
        case.keep(range(6))
        case.write(tmp_path / "bad/A")
        for path in (tmp_path / "bad/A").glob("*_mask.tif"):
            path.write_bytes(b"")
    assert main([source, *options]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out.count("unusable file") == (6 if source == "bad" else 0)


def test_inspect_refuses_an_unknown_option():
    with pytest.raises(SystemExit) as caught:
        main(["phantom:3", "--nonsense", "1"])
    assert caught.value.code == 2


def test_printable_leaves_a_terminal_nothing_to_obey():
    assert printable("Ö\x1b[31m\udcff\n\u202e") == "Ö\ufffd[31m\ufffd\n\ufffd"


# --- summaries and findings, without files ---


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
    monkeypatch.setattr(findings, "_BLOCK", block)
    volumes = [drawn(k)[0].copy() for k in (1, 2, 3)]
    volumes[2][7] = np.clip(0.7 * volumes[0][3] + 5, 0, 255).astype(np.uint8)
    volumes[1][4] = np.maximum(volumes[1][5], 3) - 2  # a neighbour
    volumes[1][9] = volumes[0][9]  # exact
    found = near_duplicates([summary_of(name, volume) for name, volume in zip("ABC", volumes, strict=True)])
    assert [(match.first, match.second) for match in found] == [((0, 3), (2, 7))]
    assert 0.99 < found[0].correlation <= 1


def test_near_duplicates_are_not_told_of_nearly_black_slices():
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
    chosen = choose(summaries, seed=0)
    assert chosen[0] == ("largest lesion, 52 pixels: A, slice 6", 0, 5)
    assert chosen[1] == ("smallest lesion, 16 pixels: B, slice 3", 1, 2)
    sample = chosen[2:]
    assert len({(p, s) for _, p, s in sample}) == len(sample) == NUM_PICTURES
    ill = [bool(summaries[p].tumour_pixels[s]) for _, p, s in sample]
    assert ill == [True] * 4 + [False] * 4
    assert choose(summaries, seed=0) == chosen
    assert choose(summaries, seed=1) != chosen


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
def test_draw_outline_is_of_a_size_that_can_be_judged(shape, drawn):
    assert draw_outline(np.zeros(shape, np.uint8), np.zeros(shape, bool)).shape == (*drawn, 3)


def test_histograms_of_whole_numbers_have_no_comb():
    images, _ = squares(1)
    flat = channel(range(20, 150), [1] * 130)  # 130 levels into bins of 3
    figure = histograms([replace(summary_of("A", images, group="G"), channels=(flat,))])
    heights = [float(point.split(",")[1]) for point in figure["groups"]["G"][0][1].split()]
    assert set(heights[:43]) == {0.0}
    assert figure["ticks"][0] == (0.0, "20")


def test_histograms_and_bars_show_the_largest_groups_only():
    images, masks = squares(4, tumour=(0,))
    summaries = [
        summary_of(f"{g} {k}", images, masks, group=f"g{g:02}") for g in range(15) for k in range(1 + (g == 14))
    ]
    assert list(largest_groups(summaries)) == ["g14", *(f"g{g:02}" for g in range(MAX_GROUPS - 1))]
    assert len(histograms(summaries)["groups"]) == MAX_GROUPS
    assert balance(summaries)[0] == {"name": "g14", "tumour": 2, "total": 8, "width": 75.0}


def test_shares_are_bars_from_the_largest_down():
    images, masks = squares(1, size=20, tumour=(0,))
    figure = shares([summary_of("A", images), summary_of("B", images, masks)])
    assert (figure["top"], figure["count"]) == ("4", 2)
    assert figure["path"] == "M0.00 120.0v-120.00h127.50V120.0zM150.00 120.0v-0.00h127.50V120.0z"


# --- the page ---


class Page(HTMLParser):
    """A page as a browser sees it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.metas: dict[str, str] = {}
        self.open: list[str] = []
        self.cells: list[str] = []
        self.items: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag == "meta" and "name" in attributes:
            self.metas[attributes["name"]] = attributes["content"]
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "li":
            self.items.append("")
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.cells[-1] += data
        if "li" in self.open:
            self.items[-1] += data


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a source whose first patient has an evil name."""
    folder = tmp_path_factory.mktemp("page")
    cases = {name: Case(k) for k, name in enumerate((EVIL, "TCGA_DU_1", "TCGA_DU_2"), 1)}
    cases[EVIL].masks = [np.zeros((128, 128), bool) for _ in range(12)]
    write(folder / EVIL, cases)
    assert main([str(folder / EVIL), "--out", str(folder / "new" / "out")]) == 0
    html = (folder / "new/out/inspect.html").read_text()
    return Page(html), html


def test_page_needs_nothing_but_itself(page):
    parsed, html = page
    assert parsed.open == []
    assert len(parsed.links) == 1 + 4 * (2 + NUM_PICTURES)
    assert all(link.startswith("data:") for link in parsed.links)
    assert "://" not in html
    assert "@import" not in html
    assert "url(" not in html
    assert not {"script", "iframe", "object", "embed"} & set(parsed.tags)


def test_page_is_for_phones_and_for_light_and_dark(page):
    parsed, _ = page
    assert parsed.metas == {"viewport": "width=device-width, initial-scale=1", "color-scheme": "light dark"}


def test_page_shows_names_as_text(page):
    parsed, html = page
    assert EVIL not in html
    assert f"{EVIL}: no mask of this patient has a tumour pixel" in parsed.items
    assert "b" not in parsed.tags
    assert re.search("without tumour: &lt;script&gt;alert\\(1\\)&lt;b&gt;, slice", html)


def test_page_has_the_same_numbers_and_findings_as_the_terminal(page):
    parsed, html = page
    assert dict(zip(parsed.cells[::2], parsed.cells[1::2], strict=True)).items() >= {
        ("patients", "3"),
        ("slices", "36"),
        ("groups (patients)", "TCGA_DU (2)(none) (1)"),
    }
    assert len(parsed.items) == 1
    assert "1 finding(s) of 1 kind(s)." in html
    assert parsed.tags.count("svg") == 2 + 2 + 1  # histogram and bar of both groups, and the patients


def test_page_shows_slices_plain_and_with_the_outline(page):
    parsed, _ = page
    coloured = []
    for link in parsed.links[1:9]:
        content = np.frombuffer(base64.b64decode(link.partition("base64,")[2]), np.uint8)
        picture = cv2.imdecode(content, cv2.IMREAD_COLOR).astype(int)
        assert picture.shape == (256, 256, 3)
        coloured.append(int(np.ptp(picture, axis=2).max()) > 60)
    assert coloured == [False, False, False, True] * 2


def test_page_of_one_slice_without_tumour_can_be_drawn(tmp_path, capsys):
    case = Case(1)
    case.keep([0])
    case.images, case.masks = [np.zeros((9, 9, 3), np.uint8)], [np.zeros((9, 9), bool)]
    case.write(tmp_path / "A")
    found, _ = inspect(capsys, tmp_path, "--out", tmp_path / "out")
    assert {kind for kind, *_ in found} == {"all-black slices", "no tumour", "constant channel", "single slice"}
    assert Page((tmp_path / "out/inspect.html").read_text()).links == ["data:,"]
