"""Several files are bad: all are listed at once, or left out."""

import pytest

from data.errors import BadFiles, DataError
from search.cohort import read_cohort
from search.tune import main
from tests.data.bad_input.lgg_cases import LGG
from tests.support.damage import COLOURS, IMAGE, content, copied, removed, replaced, wrote
from tests.support.sources import ALL, WHOLE, assert_slices, config_of, image_of, mask_of, write_png, write_tiff

SIX = {
    IMAGE: LGG[0].damage,
    "P1/P1_3.tif": content("P1/P1_3.tif", lambda old: b""),
    "P2/P2_1_mask.tif": wrote(write_tiff, "P2/P2_1_mask.tif", COLOURS),
    "P3/P3_1.tif": wrote(write_png, "P3/P3_1.tif", image_of("P3", 1)),
    "P3/P3_2_mask.tif": wrote(write_tiff, "P3/P3_2_mask.tif", mask_of("P3", 2)[:9]),
    "P4/P4_3.tif": replaced("P4/P4_3.tif", lambda path: path.symlink_to("nothing")),
}


def test_the_command_lists_six_bad_files_of_four_patients_at_once(copy, capsys):
    source = copy("lgg")
    for damage in SIX.values():
        damage(source)
    out = source.parent / "runs"
    assert main(["--data", str(source), "--out", str(out), "--no-cache", "--dry-run"]) == 2
    captured = capsys.readouterr()
    listed = [line for line in captured.err.splitlines() if line.startswith("  - ")]
    assert [line.split(": ")[0] for line in listed] == [f"  - {source / path}" for path in SIX]
    assert "error: 6 file(s) cannot be used; repair them, move them away, or give --skip-bad-files:" in captured.err
    assert "Traceback" not in captured.err
    assert sorted(out.rglob("*")) == []


def test_skipping_six_bad_files_keeps_the_other_slices(copy):
    source = copy("lgg")
    for damage in SIX.values():
        damage(source)
    cohort = read_cohort(config_of(source, skip_bad_files=True))
    assert [str(problem.path.relative_to(source)) for problem in cohort.skipped] == list(SIX)
    assert_slices(cohort, ALL - {("P1", 2), ("P1", 3), ("P2", 1), ("P3", 1), ("P3", 2), ("P4", 3)})


def test_six_problems_of_names_are_listed_at_once_whatever_their_kind(copy):
    source = copy("folder")
    removed("masks/P0/1.png", "images/P1/2.png")(source)
    copied("masks/P2/1.png", "masks/P2/1_mask.png")(source)
    copied("images/P2/2.png", "images/P2/2.jpg")(source)
    copied("images/P3/1.png", "images/P3/one.png")(source)
    (source / "sub" / "masks").mkdir(parents=True)
    with pytest.raises(BadFiles) as caught:
        read_cohort(config_of(source))
    assert {str(problem.path.relative_to(source)) for problem in caught.value.problems} == {
        "images/P0/1.png",
        "masks/P1/2.png",
        "images/P2/1.png",
        "images/P2/2.jpg",
        "images/P3/one.png",
        "sub/masks",
    }
    assert "6 file(s) cannot be used" in str(caught.value)


def test_a_patient_of_bad_files_alone_is_left_out(copy):
    source = copy("lgg")
    for path in (source / "P1").iterdir():
        path.write_bytes(b"")
    cohort = read_cohort(config_of(source, skip_bad_files=True))
    assert len(cohort.skipped) == 6
    assert_slices(cohort, ALL - WHOLE)


def test_a_source_of_bad_files_only_is_refused_even_if_they_may_be_skipped(copy):
    source = copy("lgg")
    for path in source.rglob("*.tif"):
        path.write_bytes(b"")
    with pytest.raises(BadFiles, match=r"^30 file\(s\) cannot be used"):
        read_cohort(config_of(source, skip_bad_files=True))


def test_too_few_patients_left_are_refused(copy):
    source = copy("nifti")
    for patient in ("P0", "P1", "P2"):
        (source / patient / f"{patient}_t2.nii.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"^there are 2 persons, but there must be at least 3"):
        read_cohort(config_of(source, data_format="nifti", skip_bad_files=True))
