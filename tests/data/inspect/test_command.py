"""The command data.inspect: what it prints, takes and refuses."""

import nibabel
import numpy as np
import pytest
import tifffile

from data.inspect.__main__ import main
from data.splitting.split import Member, split_patients
from tests.support.inspected import Case, inspect, rows_of, write


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="module")
def three_phantoms():
    return {name: Case(k) for k, name in enumerate("ABC", 1)}


def test_inspect_finds_nothing_in_phantoms_and_says_so(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, out = inspect(capsys, "phantom:3")
    assert found == []
    assert "Nothing odd was found." in out
    assert list(tmp_path.iterdir()) == []


def test_inspect_does_not_take_neighbours_in_a_patient_for_duplicates(tmp_path, capsys):
    cases = {name: Case(k) for k, name in enumerate("ABC", 1)}
    cases["B"].images[4] = np.where(cases["B"].images[5] > 20, cases["B"].images[5] - 1, cases["B"].images[5])
    write(tmp_path, cases)
    assert inspect(capsys, tmp_path)[0] == []


def test_inspect_reports_once_what_all_patients_share(tmp_path, capsys):
    cases = {name: Case(k) for k, name in enumerate("ABC", 1)}
    for case in cases.values():
        case.all_images(lambda image: image[..., [1, 1, 1]])
    write(tmp_path, cases)
    text = "flair is a copy of pre, post is a copy of pre, post is a copy of flair"
    assert inspect(capsys, tmp_path)[0] == [("identical channels", "all 3 patients", text)]


def test_inspect_lists_bad_files_and_inspects_the_rest(tmp_path, capsys, three_phantoms):
    write(tmp_path, three_phantoms)
    truncated, wrong, alone = (tmp_path / name for name in ("A/A_3.tif", "B/B_2_mask.tif", "C/C_12.tif"))
    truncated.write_bytes(truncated.read_bytes()[:1000])
    tifffile.imwrite(wrong, np.full((128, 128), 7, np.uint8))
    (tmp_path / "C/C_12_mask.tif").unlink()
    found, out = inspect(capsys, tmp_path)
    assert [(kind, where) for kind, where, _ in found] == [
        ("unusable file", str(path)) for path in (alone, truncated, wrong)
    ]
    assert [text.split(" (")[0] for *_, text in found[:2]] == ["has no mask", "is truncated"]
    assert rows_of(out)["slices"] == "33"
    assert rows_of(out)["unusable files"] == "3"


def test_inspect_drops_a_patient_that_has_no_file_left(tmp_path, capsys, three_phantoms):
    write(tmp_path, three_phantoms)
    for path in (tmp_path / "C").glob("*_mask.tif"):
        path.write_bytes(b"")
    found, out = inspect(capsys, tmp_path)
    assert [kind for kind, *_ in found] == ["unusable file"] * 12
    assert rows_of(out)["patients"] == "2"
    assert rows_of(out)["split by person, seed 0"] == "needs at least 3 persons"


TINY = ("TCGA_CS_A", "TCGA_CS_B", "C")


def write_tiny(source, names: tuple[str, ...] = TINY) -> None:
    """Three patients: A of 2 slices of 8 x 10 and B of 4 with values by hand, C of 2 with a tumour of 16 pixels."""
    slices = (((10, 20), 4), ((30, 40, 50, 60), 8), ((70, 80), 16))
    for name, (levels, tumour) in zip(names, slices, strict=True):
        case = Case.__new__(Case)
        case.images = [np.full((8, 10, 3), level, np.uint8) for level in levels]
        case.masks = [np.zeros((8, 10), bool) for _ in levels]
        case.masks[0].flat[:tumour] = True
        case.numbers = list(range(1, len(levels) + 1))
        case.write(source / name)


def test_inspect_prints_numbers_as_counted_by_hand(tmp_path, capsys):
    write_tiny(tmp_path)
    rows = rows_of(inspect(capsys, tmp_path, "--seed", 5, "--val-fraction", 0.3)[1])
    tumours = {"TCGA_CS_A": ("TCGA_CS", 4 / 160), "TCGA_CS_B": ("TCGA_CS", 8 / 320), "C": ("", 16 / 160)}
    members = [Member(id=i, person=i, group=group, tumour_share=share) for i, (group, share) in tumours.items()]
    split = split_patients(members, seed=5, val_fraction=0.3)
    slices = {"TCGA_CS_A": 2, "TCGA_CS_B": 4, "C": 2}
    preview = [
        f"{side}: 1 patient(s), {slices[ids[0]]} slices, 1 with tumour"
        for side, ids in (("train", split.train), ("val", split.val), ("test", split.test))
    ]
    assert "beside" in rows.pop("recognised")
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
        "split by person, seed 5": "; ".join(preview),
        "duplicates": "0 slice(s) with the same pixels, 0 pair(s) that look alike",
        "unusable files": "0",
    }


def test_inspect_counts_persons_with_several_visits(tmp_path, capsys):
    write_tiny(tmp_path, ("BraTS-GLI-00001-000", "BraTS-GLI-00001-001", "C"))
    assert rows_of(inspect(capsys, tmp_path)[1])["persons"] == "2, some with several visits"


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
    assert rows["labels (voxels)"] == "4: 300 in 2 patient(s)"
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
        ("good", ("--modalities", "t1"), "--modalities is for"),
        ("good", ("--out", "good/A/A_1.tif"), "File exists"),
        ("bad", (), "holds no file that can be used"),
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
    assert captured.err.count("_mask.tif: is empty") == (6 if source == "bad" else 0)


def test_inspect_refuses_an_unknown_option():
    with pytest.raises(SystemExit) as caught:
        main(["phantom:3", "--nonsense", "1"])
    assert caught.value.code == 2
