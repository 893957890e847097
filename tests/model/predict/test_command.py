"""`model.predict` on image files: exact masks, and one clear line for every mistake of the user.

The model is that of tests/support/hand_model.py: a pixel is tumour where FLAIR is not below the mean of the head.
"""

import csv
import errno
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from data.patient import SlicePatient
from data.preprocess import Preprocessing
from model.inference.onnx_file import METADATA_KEY
from model.inference.runtime import load_model
from model.inference.volume import predict_volume
from model.predict import __main__ as command
from model.settings import Settings
from tests.support.fakes import write_lgg_patient
from tests.support.faults import assert_fault
from tests.support.hand_model import NAMES, write_model
from tests.support.pixels import read_pixels
from tests.support.predict_command import failure, run, table
from tests.support.scans import scan_lgg as scan


def test_command_writes_masks_overlays_and_a_table(model, tmp_path, capsys):
    for seed, name in enumerate(("B", "A")):
        write_lgg_patient(tmp_path / "in", name, height=20, width=12, seed=seed)
    run(model, tmp_path / "in", out=tmp_path / "out")
    patients = scan(tmp_path / "in").patients
    rows = list(csv.DictReader((tmp_path / "out" / "volumes.csv").read_text().splitlines()))
    assert [row["patient"] for row in rows] == ["A", "B"]
    for patient, row in zip(patients, rows, strict=True):
        assert isinstance(patient, SlicePatient)
        images = patient.read().images
        expected = predict_volume(load_model(model, runtime="onnxruntime")[0], images, Preprocessing(size=16)) >= 0.5
        folder = tmp_path / "out" / patient.id
        masks = np.stack([tifffile.imread(folder / f"{files.image.stem}_mask.tif") for files in patient.slices])
        assert masks.dtype == np.uint8
        assert (masks == expected * np.uint8(255)).all()
        assert int(row["tumour_pixels"]) == expected.sum() > 0
        assert (row["slices"], row["slices_with_tumour"]) == ("3", "3")
        assert float(row["tumour_share"]) == pytest.approx(expected.mean(), abs=1e-6)
        assert sorted(path.name for path in folder.glob("*.png")) == [
            f"{patient.id}_{n}_overlay.png" for n in (10, 1, 2)
        ]
    assert "Wrote masks and overlays of 6 slice(s) of 2 patient(s)" in capsys.readouterr().out


def test_command_never_reads_a_mask(model, tmp_path):
    folder = write_lgg_patient(tmp_path / "in", "A")
    run(model, folder, "--no-overlays", out=tmp_path / "one")
    for path in folder.glob("*_mask.tif"):
        path.write_bytes(b"no TIFF")
    run(model, folder, "--no-overlays", "--batch-size", 1, out=tmp_path / "two")
    one, two = (sorted((tmp_path / name).rglob("*.*")) for name in ("one", "two"))
    assert [path.name for path in one] == [
        *("A_10_mask.tif", "A_1_mask.tif", "A_2_mask.tif"),
        *("prediction.json", "volumes.csv"),
    ]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


@pytest.mark.parametrize(("suffix", "mask_suffix"), [(".png", ".png"), (".jpg", ".png"), (".tif", ".tif")])
def test_single_image_is_a_volume_of_one_slice(model, tmp_path, capsys, suffix, mask_suffix):
    image = np.zeros((24, 32, 3), np.uint8)
    image[..., 1], image[4:12, 8:16, 1], image[..., 0] = 60, 250, 30  # red is not FLAIR: a swap of channels would show
    image[12:20, 8:16, 2] = 200
    source = tmp_path / f"scan{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(source, image, photometric="rgb")
    else:
        cv2.imwrite(str(source), image[..., ::-1])
    model_32 = write_model(
        tmp_path / "32.onnx",
        {METADATA_KEY: Settings(preprocessing=Preprocessing(size=32), threshold=0.6, channel_names=NAMES).to_json()},
    )
    run(model_32, source, out=tmp_path / "out")
    mask = read_pixels(tmp_path / "out" / "scan" / f"scan_mask{mask_suffix}")
    expected = np.zeros((24, 32), np.uint8)
    expected[4:12, 8:16] = 255
    assert (mask != expected).mean() < (0.02 if suffix == ".jpg" else 1e-9)
    overlay = read_pixels(tmp_path / "out" / "scan" / "scan_overlay.png")
    assert overlay.shape == (48, 64, 3)
    assert "scan" in capsys.readouterr().out.splitlines()[0]


def test_working_directory_can_be_the_patient(model, tmp_path, monkeypatch):
    monkeypatch.chdir(write_lgg_patient(tmp_path, "A"))
    run(model, Path("."), "--no-overlays", out=tmp_path / "out")
    assert (tmp_path / "out" / "A" / "A_1_mask.tif").exists()


def test_command_refuses_to_overwrite_the_true_masks(model, tmp_path, capsys):
    folder = write_lgg_patient(tmp_path / "in", "A")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for source in (tmp_path / "in", folder):
        assert "would overwrite masks" in failure(capsys, model, source, out=tmp_path / "in")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_command_leaves_nothing_incomplete(model, tmp_path, capsys):
    folder = write_lgg_patient(tmp_path / "in", "A")
    (folder / "A_2.tif").write_bytes((folder / "A_2.tif").read_bytes()[:400])
    assert "A_2.tif: is truncated" in failure(capsys, model, folder, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def break_name(folder):
    (folder / "A_2.tif").rename(folder / "second.tif")


def break_prefix(folder):
    (folder / "A_2.tif").rename(folder / "B_2.tif")


def break_number(folder):
    cv2.imwrite(str(folder / "A_002.png"), np.zeros((16, 16, 3), np.uint8))


def break_size(folder):
    tifffile.imwrite(folder / "A_2.tif", np.zeros((8, 16, 3), np.uint8), photometric="rgb")


def break_depth(folder):
    tifffile.imwrite(folder / "A_2.tif", np.zeros((16, 16, 3), np.uint16), photometric="rgb")


def break_channels(folder):
    (folder / "A_2.tif").unlink()
    cv2.imwrite(str(folder / "A_2.png"), np.zeros((16, 16), np.uint8))


def break_png(folder):
    (folder / "A_2.tif").unlink()
    (folder / "A_2.png").write_bytes(b"")


def break_all(folder):
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_name, "second.tif: the name is not <PATIENT>_<NUMBER>.tif; rename it, or predict it alone"),
        (break_prefix, "holds slices of 2 patients (A, B); give each a folder of its own"),
        (break_number, "A_2.tif: has the number of A_002.png; remove one of them"),
        (break_size, "A_2.tif: is 8 x 16 x 3 of uint8, but A_1.tif of the same patient is 16 x 16 x 3"),
        (break_depth, "A_2.tif: is 16 x 16 x 3 of uint16, but A_1."),
        (break_channels, "A_2.png: is 16 x 16 x 1 of uint8, but A_1."),
        (break_png, "A_2.png: is empty (0 bytes)"),
        (break_all, "holds no image"),
    ],
)
def test_command_names_problems_of_the_images(model, tmp_path, capsys, damage, message):
    damage(write_lgg_patient(tmp_path / "in", "A"))
    assert message in failure(capsys, model, tmp_path / "in", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_copy_of_a_patient_is_predicted_once_and_another_of_its_name_is_refused(model, tmp_path, capsys):
    folder = write_lgg_patient(tmp_path / "in", "A")
    write_lgg_patient(tmp_path / "in" / "copy", "A")
    run(model, tmp_path / "in", out=tmp_path / "out")
    write_lgg_patient(tmp_path / "in" / "more", "A", seed=1)
    said = failure(capsys, model, tmp_path / "in", out=tmp_path / "out")
    assert f"more/A: patient id A is already that of {folder}; name one of the two" in said
    assert [row["patient"] for row in table(tmp_path / "out")] == ["A"]


def test_command_names_mistakes_in_its_arguments(model, tmp_path, capsys):
    folder, out = write_lgg_patient(tmp_path / "in", "A"), tmp_path / "out"
    one_channel = write_model(
        tmp_path / "one.onnx",
        {
            METADATA_KEY: Settings(
                preprocessing=Preprocessing(size=16), threshold=0.5, channel_names=("grey",)
            ).to_json()
        },
    )
    (tmp_path / "notes.txt").write_text("no image")
    assert "error: model nothing does not exist" in failure(capsys, Path("nothing"), folder, out=out)
    assert "elsewhere does not exist; name a patient's folder" in failure(capsys, model, Path("elsewhere"), out=out)
    assert "notes.txt is not an image: its suffix must be" in failure(capsys, model, tmp_path / "notes.txt", out=out)
    assert "has 3 channels, but the model takes 1 (grey)" in failure(capsys, one_channel, folder, out=out)
    assert "batch_size is 0, but must be at least 1" in failure(capsys, model, folder, "--batch-size", 0, out=out)


def test_command_says_when_it_cannot_write(model, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert "out" in failure(capsys, model, write_lgg_patient(tmp_path / "in", "A"), out=tmp_path / "out")


def test_fault_of_the_command_keeps_its_traceback(model, tmp_path, capsys, monkeypatch):
    def fail(*_: object) -> None:
        raise ValueError("planted")

    monkeypatch.setattr("model.predict.pipeline.prepare", fail)
    folder = write_lgg_patient(tmp_path / "in", "A")
    assert_fault(capsys, command.main, [str(model), str(folder), "--out", str(tmp_path / "out")])


def test_full_disk_is_one_line(model, tmp_path, capsys, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("model.predict.outputs.write_image", fail)
    said = failure(capsys, model, write_lgg_patient(tmp_path / "in", "A"), out=tmp_path / "out")
    assert said.splitlines()[-1] == (
        f"error: --out {tmp_path / 'out'} cannot be written (No space left on device); free space there, or choose "
        "another folder"
    )


def test_lack_of_memory_is_one_line(model, tmp_path, capsys, monkeypatch):
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("model.predict.pipeline.prepare", fail)
    said = failure(capsys, model, write_lgg_patient(tmp_path / "in", "A"), out=tmp_path / "out")
    assert "error: there is not enough memory; close other programs, or predict smaller volumes" in said


def test_predict_imports_nothing_of_the_search():
    heavy = ["torch", "ray", "optuna", "albumentations", "pandas", "wandb", "onnx", "scipy", "sklearn"]
    code = f"import sys, model.predict; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
