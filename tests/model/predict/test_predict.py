"""Prediction: one path for all, exact by hand, from files to files, and a sentence for every mistake.

The model is that of tests/support/hand_model.py: a pixel is tumour where FLAIR is not below the mean of the head.
"""

import csv
import json
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from data.loaders import eval_batches
from data.pack import pack_patients
from data.patient import Patient, Volume
from data.preprocess import Preprocessing, fit_image
from data.readers.lgg import scan
from model.inference.onnx_file import METADATA_KEY
from model.inference.runtime import load_model
from model.inference.volume import predict_volume
from model.predict.__main__ import main
from model.settings import ModelError, Settings
from tests.support.fakes import write_lgg_patient
from tests.support.hand_model import NAMES, SETTINGS, flair_network, write_model


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model.onnx", {METADATA_KEY: SETTINGS.to_json()})


def volume(seed: int, num_slices: int = 5, height: int = 20, width: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_slices, height, width, 3), dtype=np.uint8)


def run(model: Path, source: Path, out: Path, *options: str) -> None:
    main([str(model), str(source), "--out", str(out), "--runtime", "onnxruntime", *options])


def refusal(capsys, *arguments) -> str:
    """Return the one line with which the command refuses."""
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2
    return capsys.readouterr().err.strip()


@pytest.mark.parametrize("seed", range(5))
def test_predict_volume_does_not_depend_on_the_batch(seed):
    one, other = (
        predict_volume(flair_network, volume(seed), Preprocessing(size=16), batch_size=size) for size in (2, 16)
    )
    assert (one == other).all()
    assert one.shape == (5, 20, 12)


def test_predict_volume_has_the_values_worked_by_hand():
    images = np.zeros((1, 4, 4, 3), np.uint8)
    images[0, :2, :, 1], images[0, 2:, :, 1] = 100, 200  # mean 150, standard deviation 50: sigmoid of -1 and of 1
    probability = predict_volume(flair_network, images, Preprocessing(size=4))
    assert probability[0, :, 0] == pytest.approx([0.268941, 0.268941, 0.731059, 0.731059], abs=1e-5)


def test_predict_volume_gives_the_network_what_training_gave_it(tmp_path):
    write_lgg_patient(tmp_path, "A", height=20, width=12)
    (patient,) = scan(tmp_path).patients
    pack = pack_patients([patient], Preprocessing(size=16))
    seen = []

    def network(slices, mean, std):
        seen.append((slices, mean, std))
        return np.zeros((len(slices), 16, 16), np.float32)

    predict_volume(network, patient.read().images, Preprocessing(size=16))
    ((slices, mean, std),) = seen
    assert (slices == pack.images.transpose(0, 3, 1, 2)).all()
    assert slices.dtype == np.float32
    assert (mean == pack.mean[0]).all()
    assert (std == pack.std[0]).all()


def test_predict_volume_of_a_black_volume_is_finite():
    assert np.isfinite(predict_volume(flair_network, np.zeros((2, 8, 8, 3), np.uint8), Preprocessing(size=16))).all()


def test_load_model_returns_the_network_from_a_file_or_its_folder(model):
    slices = np.stack([fit_image(image, 16) for image in volume(0)]).transpose(0, 3, 1, 2).astype(np.float32)
    mean, std = np.array([1, 120, 1], np.float32), np.array([1, 60, 1], np.float32)
    for path in (model, model.parent):
        network, settings = load_model(path, runtime="onnxruntime")
        np.testing.assert_allclose(network(slices, mean, std), flair_network(slices, mean, std), atol=1e-6)
        assert settings == SETTINGS


def test_load_model_names_what_is_missing(tmp_path):
    with pytest.raises(ModelError, match=r"model.onnx does not exist; name an exported model.onnx, or the folder"):
        load_model(tmp_path)


@pytest.mark.parametrize("num_bytes", [0, 10, 200])
def test_load_model_refuses_a_truncated_file(model, num_bytes):
    model.write_bytes(model.read_bytes()[:num_bytes])
    with pytest.raises(ModelError, match=r"model.onnx (cannot be read as ONNX|has no tumour_search settings)"):
        load_model(model)


def test_load_model_refuses_a_foreign_model(tmp_path):
    foreign = write_model(tmp_path / "other.onnx", {"author": "else"})
    with pytest.raises(ModelError, match=r"other.onnx has no tumour_search settings: it is not of this program"):
        load_model(foreign)


def written(**changes) -> str:
    """Return settings as a model holds them, with changes; what is None is left out."""
    values = {
        "format": 3,
        "preprocessing": {},
        "channel_names": ["pre", "flair", "post"],
        "threshold": 0.5,
        "largest_component": False,
        "data_format": "lgg",
        "channel_indices": [],
        "grayscale": False,
    } | changes
    return json.dumps({name: value for name, value in values.items() if value is not None})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be a JSON object"),
        ("[1]", "must be a JSON object"),
        (5000 * "[", "must be a JSON object"),
        (written(format=1), "this version reads format 3"),
        (written(format=None), "this version reads format 3"),
        (
            written(grayscale=None),
            r"must have exactly \['channel_indices', 'channel_names', 'data_format', 'grayscale'",
        ),
        (written(depth=1), r"have \['channel_indices', 'channel_names', 'data_format', 'depth'"),
        (written(preprocessing={"size": 0}), "size is 0, but must be a whole number"),
        (written(preprocessing={"side": 1}), "preprocessing that is not legal"),
        (written(preprocessing=[]), "preprocessing that is not legal"),
        (written(threshold=1.5), "threshold is 1.5, but must be above 0 and below 1"),
        (written(channel_names=[]), r"channel_names are \(\), but must be at least one name"),
        (written(channel_names=3), "channel_names are 3, but must be a list"),
        (written(channel_indices="flair"), "channel_indices are 'flair', but must be a list"),
        (written(channel_indices=[0, -1]), r"channel_indices are \(0, -1\), but must be whole numbers from 0 on"),
        (written(channel_indices=[True]), r"channel_indices are \(True,\), but must be whole numbers from 0 on"),
        (written(channel_indices=[1.0]), r"channel_indices are \(1.0,\), but must be whole numbers from 0 on"),
        (written(data_format="dicom"), "data_format is 'dicom', but must be one of lgg, folder, nifti, phantom"),
        (written(data_format=[]), r"data_format is \[\], but must be one of lgg, folder"),
        (written(grayscale=1), "grayscale is 1, but must be true or false"),
        (written(largest_component="no"), "largest_component is 'no', but must be true or false"),
    ],
)
def test_load_model_names_what_is_wrong_with_its_settings(tmp_path, text, message):
    path = write_model(tmp_path / "model.onnx", {METADATA_KEY: text})
    with pytest.raises(ModelError, match=rf"model.onnx: .*{message}.*; export it again"):
        load_model(path)


@pytest.mark.parametrize("seed", range(3))
def test_settings_survive_the_file(seed):
    rng = np.random.default_rng(seed)
    settings = Settings(
        preprocessing=Preprocessing(size=int(rng.integers(1, 512))), threshold=float(rng.random()), channel_names=NAMES
    )
    assert Settings.from_json(settings.to_json()) == settings


def test_command_writes_masks_overlays_and_a_table(model, tmp_path, capsys):
    for seed, name in enumerate(("B", "A")):
        write_lgg_patient(tmp_path / "in", name, height=20, width=12, seed=seed)
    run(model, tmp_path / "in", tmp_path / "out")
    patients = scan(tmp_path / "in").patients
    rows = list(csv.DictReader((tmp_path / "out" / "volumes.csv").read_text().splitlines()))
    assert [row["patient"] for row in rows] == ["A", "B"]
    for patient, row in zip(patients, rows, strict=True):
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
    run(model, folder, tmp_path / "one", "--no-overlays")
    for path in folder.glob("*_mask.tif"):
        path.write_bytes(b"no TIFF")
    run(model, folder, tmp_path / "two", "--no-overlays", "--batch-size", "1")
    one, two = (sorted((tmp_path / name).rglob("*.*")) for name in ("one", "two"))
    assert [path.name for path in one] == [
        *("A_10_mask.tif", "A_1_mask.tif", "A_2_mask.tif"),
        *("prediction.json", "volumes.csv"),
    ]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


@pytest.mark.parametrize(("suffix", "mask_suffix"), [(".png", ".png"), (".jpg", ".png"), (".tif", ".tif")])
def test_command_takes_a_single_image_as_a_volume_of_one_slice(model, tmp_path, capsys, suffix, mask_suffix):
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
    run(model_32, source, tmp_path / "out")
    mask = cv2.imread(str(tmp_path / "out" / "scan" / f"scan_mask{mask_suffix}"), cv2.IMREAD_UNCHANGED)
    expected = np.zeros((24, 32), np.uint8)
    expected[4:12, 8:16] = 255
    assert (mask != expected).mean() < (0.02 if suffix == ".jpg" else 1e-9)
    overlay = cv2.imread(str(tmp_path / "out" / "scan" / "scan_overlay.png"))
    assert overlay.shape == (48, 64, 3)
    assert "scan" in capsys.readouterr().out.splitlines()[0]


def test_command_names_a_patient_folder_that_is_the_working_directory(model, tmp_path, monkeypatch):
    monkeypatch.chdir(write_lgg_patient(tmp_path, "A"))
    run(model, Path("."), tmp_path / "out", "--no-overlays")
    assert (tmp_path / "out" / "A" / "A_1_mask.tif").exists()


def test_command_refuses_to_write_over_the_true_masks(model, tmp_path, capsys):
    folder = write_lgg_patient(tmp_path / "in", "A")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for source in (tmp_path / "in", folder):
        assert "would write over masks" in refusal(capsys, model, source, tmp_path / "in")
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_command_leaves_nothing_half_written(model, tmp_path, capsys):
    folder = write_lgg_patient(tmp_path / "in", "A")
    (folder / "A_2.tif").write_bytes((folder / "A_2.tif").read_bytes()[:400])
    assert "A_2.tif: is truncated" in refusal(capsys, model, folder, tmp_path / "out")
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


def break_twin(folder):
    write_lgg_patient(folder.parent / "copy", "A")


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
        (break_twin, "a patient of this name is already in"),
    ],
)
def test_command_names_what_is_wrong_with_the_images(model, tmp_path, capsys, damage, message):
    damage(write_lgg_patient(tmp_path / "in", "A"))
    assert message in refusal(capsys, model, tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_command_names_what_is_wrong_with_its_arguments(model, tmp_path, capsys):
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
    assert "error: model nothing does not exist" in refusal(capsys, Path("nothing"), folder, out)
    assert "elsewhere does not exist; expected a patient's folder" in refusal(capsys, model, Path("elsewhere"), out)
    assert "notes.txt is no image: its suffix must be one of" in refusal(capsys, model, tmp_path / "notes.txt", out)
    assert "has 3 channels, but the model takes 1 (grey)" in refusal(capsys, one_channel, folder, out)
    assert "batch_size is 0, but must be at least 1" in refusal(capsys, model, folder, out, "--batch-size", "0")


def test_command_says_when_it_cannot_write(model, tmp_path, capsys):
    (tmp_path / "out").write_text("a file")
    assert "out" in refusal(capsys, model, write_lgg_patient(tmp_path / "in", "A"), tmp_path / "out")


def test_predict_imports_nothing_of_the_search():
    heavy = ["torch", "ray", "optuna", "albumentations", "pandas", "wandb", "onnx", "scipy", "sklearn"]
    code = f"import sys, model.predict; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- every preprocessing, in training and in prediction ---


@dataclass(frozen=True)
class VolumePatient(Patient):
    """A patient whose volume is in memory."""

    volume: Volume
    id: str = "A"
    group: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        return ()

    def read(self) -> Volume:
        return self.volume

    def without(self, paths: Collection[Path]) -> "VolumePatient":
        return self


def volume_in_air(dtype: type, channels: int) -> np.ndarray:
    """Returns 5 slices of 20 x 14 whose head is rows 3 to 16, columns 4 to 11; floats are negative in part."""
    rng = np.random.default_rng(channels)
    images = np.zeros((5, 20, 14, channels), dtype)
    head = rng.integers(90, 256, (5, 14, 8, channels)) if dtype is np.uint8 else rng.normal(0, 40, (5, 14, 8, channels))
    images[:, 3:17, 4:12] = head
    return images


GRID = [
    Preprocessing(size=16, crop=crop, intensities=intensities, normalisation=normalisation, context_slices=context)
    for crop in ("none", "head")
    for intensities in ("auto", "full", "percentile")
    for normalisation in ("zscore", "unit")
    for context in (0, 1)
]


@pytest.mark.parametrize("preprocessing", GRID, ids=str)
@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 3), (np.float32, 2)])
def test_predict_volume_shows_the_network_bit_for_bit_what_training_shows(preprocessing, dtype, channels):
    images = volume_in_air(dtype, channels)
    masks = np.zeros(images.shape[:3], bool)
    pack = pack_patients([VolumePatient(Volume(images=images, masks=masks, numbers=(1, 2, 3, 4, 5)))], preprocessing)
    trained = [batch.images for batch in eval_batches(pack, np.arange(5), batch_size=2)]
    shown = []

    def network(slices, mean, std):
        assert slices.flags.c_contiguous
        assert slices.dtype == mean.dtype == std.dtype == np.float32
        shown.append((slices - mean[:, None, None]) / std[:, None, None])
        return slices[:, 0] / 255

    probability = predict_volume(network, images, preprocessing, batch_size=2)
    assert [batch.shape[0] for batch in shown] == [2, 2, 1]
    for found, expected in zip(shown, trained, strict=True):
        assert found.shape[1] == pack.num_channels == channels * (1 + 2 * preprocessing.context_slices)
        np.testing.assert_array_equal(found, expected)
    assert probability.shape == (5, 20, 14)
    if preprocessing.crop == "head":
        outside = np.ones((20, 14), bool)
        outside[3:17, 4:12] = False
        assert (probability[:, outside] == 0).all()
    assert probability.any(axis=(1, 2)).all()
