"""`model.predict` on slices as people hand them over: any size, stacks, flat folders, one bad patient among good."""

import cv2
import numpy as np
import pytest
import tifffile

from tests.support.fakes import write_lgg_patient
from tests.support.predict_command import failure, run, table

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(1, 256, (4, 20, 14, 3), dtype=np.uint8)


def write_rgb(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, pixels, photometric="rgb")
    else:
        cv2.imwrite(str(path), pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])


@pytest.mark.parametrize(("height", "width"), [(33, 70), (512, 512), (1, 300)])
def test_an_image_is_predicted_at_its_own_size(model, tmp_path, height, width):
    write_rgb(tmp_path / "-scan Ö.png", cv2.resize(IMAGES[0], (width, height)))
    run(model, tmp_path / "-scan Ö.png", out=tmp_path / "out")
    mask = tmp_path / "out" / "-scan Ö" / "-scan Ö_mask.png"
    decoded = cv2.imdecode(np.fromfile(mask, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    assert decoded.shape == (height, width)


@pytest.mark.parametrize("alpha", [np.full((20, 14), 255), np.where(np.arange(14) > 3, 255, 0) + np.zeros((20, 1))])
def test_an_image_with_alpha_that_hides_nothing_is_predicted(model, tmp_path, alpha):
    rgba = np.dstack([IMAGES[0] * (alpha[..., None] > 0), alpha]).astype(np.uint8)
    write_rgb(tmp_path / "a.png", rgba)
    run(model, tmp_path / "a.png", out=tmp_path / "out")


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
@pytest.mark.parametrize("named", ["file", "folder", "images"])
def test_a_stack_is_predicted_into_a_stack(model, tmp_path, capsys, suffix, named):
    path = tmp_path / "in" / ("images" if named == "images" else ".") / f"P1{suffix}"
    path.parent.mkdir(parents=True)
    write_rgb(path, IMAGES) if suffix == ".tif" else np.save(path, IMAGES)
    run(model, path if named == "file" else tmp_path / "in", out=tmp_path / "out")
    (row,) = table(tmp_path / "out")
    assert row["slices"] == "4"
    (found,) = (tmp_path / "out").rglob("*_mask.*")
    assert found.name == "P1_mask.tif"
    stack = tifffile.imread(found)
    assert (stack.shape, sorted(np.unique(stack))) == ((4, 20, 14), [0, 255])
    assert len(list((tmp_path / "out").rglob("*_overlay.png"))) == np.count_nonzero(stack.any(axis=(1, 2)))
    assert "only one slice" not in capsys.readouterr().out
    for number, image in enumerate(IMAGES):  # as the same slices in files of their own
        write_rgb(tmp_path / "slices" / "P1" / f"P1_{number}.tif", image)
    run(model, tmp_path / "slices", out=tmp_path / "slices_out")
    alone = [tifffile.imread(tmp_path / "slices_out" / "P1" / f"P1_{number}_mask.tif") for number in range(4)]
    np.testing.assert_array_equal(stack, alone)


def test_slices_of_many_patients_in_one_folder_are_predicted_by_patient(model, tmp_path):
    for patient in range(2):
        for number, image in enumerate(IMAGES[:2]):
            write_rgb(tmp_path / "all" / f"P{patient}_{number}.png", image)
            (tmp_path / "all" / f"P{patient}_{number}_mask.png").write_bytes(b"is never read")
    run(model, tmp_path / "all", out=tmp_path / "out")
    assert [(row["patient"], row["slices"]) for row in table(tmp_path / "out")] == [("P0", "2"), ("P1", "2")]


def test_names_without_numbers_are_one_patient_in_their_order(model, tmp_path):
    for name, image in zip("cab", IMAGES, strict=False):
        write_rgb(tmp_path / "P" / f"slice{name}.png", image)
    run(model, tmp_path / "P", out=tmp_path / "out")
    assert [(row["patient"], row["slices"]) for row in table(tmp_path / "out")] == [("P", "3")]


def test_a_patient_with_a_problem_does_not_stop_the_others(model, tmp_path, capsys):
    for name in "ABC":
        write_lgg_patient(tmp_path / "in", name)
    tifffile.imwrite(tmp_path / "in" / "A" / "A_1.tif", np.zeros((16, 16), np.uint8))
    (tmp_path / "in" / "B" / "B_2.tif").rename(tmp_path / "in" / "B" / "second.tif")
    write_rgb(tmp_path / "in" / "mixed" / "mixed_1.tif", IMAGES[0])
    write_rgb(tmp_path / "in" / "mixed" / "mixed_2.tif", IMAGES[1, :9])
    tifffile.imwrite(tmp_path / "in" / "grey.tif", np.zeros((16, 16), np.uint8))
    said = failure(capsys, model, tmp_path / "in", out=tmp_path / "out")
    assert [row["patient"] for row in table(tmp_path / "out")] == ["C"]
    for words in (
        "A_2.tif: is 16 x 16 x 3 of uint8, but A_1.tif of the same patient is 16 x 16 x 1",
        "second.tif: the name is not <PATIENT>_<NUMBER>.tif; rename it, or predict it alone",
        "mixed_2.tif: is 9 x 14 x 3 of uint8, but mixed_1.tif of the same patient is 20 x 14 x 3",
        "grey.tif has 1 channels, but the model takes 3 (",
        "4 of 5 patient(s) could not be predicted",
    ):
        assert words in said
