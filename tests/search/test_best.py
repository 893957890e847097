"""The promoted model from Python: what it returns, what it imports, and what it says of a volume that does not suit."""

import subprocess
import sys

import numpy as np
import pytest

import search
from data.errors import UserError
from model.predict.exported_model import ExportedModel
from model.predict.inputs import find_volumes, read_volume
from tests.support.experiments import DICES, write_experiment
from tests.support.fakes import write_lgg_patient
from tests.support.hand_model import write_model_of


@pytest.fixture(scope="module")
def best(tmp_path_factory):
    folder = write_experiment(tmp_path_factory.mktemp("runs"), "mine", dices=dict(DICES))
    write_model_of(folder / "best" / "model.onnx")
    best = search.load(folder).best
    assert best is not None
    return best


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patients")
    for number in range(2):
        write_lgg_patient(folder, f"P{number}", numbers=(2, 3), seed=number)
    return folder


def test_best_predicts_an_array_and_a_folder_as_the_exported_model(best, patients):
    exported = ExportedModel.load(best.folder)
    images, _ = read_volume(find_volumes(patients / "P1", exported.settings)[0], exported.settings)
    masks = best.predict(images)
    assert masks.any()
    assert (masks.dtype, masks.shape) == (bool, images.shape[:3])
    assert (masks == exported.segment(images)).all()
    assert (best.predict(str(patients / "P1")) == masks).all()
    probability = best.probability(patients / "P1")
    assert (probability.dtype, probability.shape) == (np.float32, (1, *images.shape[:3]))
    assert (probability == exported.probability(images)).all()
    assert best.model is best.model


def test_best_predicts_without_torch_and_ray(best, patients):
    code = (
        f"import search, sys; search.load({str(best.folder.parent)!r}).best.predict({str(patients / 'P0')!r}); "
        "sys.exit(sum(name in sys.modules for name in ('torch', 'ray', 'optuna', 'wandb')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("volume", "message"),
    [
        (np.zeros((2, 8, 8)), r"volume has the shape \(2, 8, 8\), but must be \(slices, height, width, channels\)"),
        (np.zeros((0, 8, 8, 3)), r"volume has the shape \(0, 8, 8, 3\)"),
        (np.zeros((2, 8, 8, 4)), r"volume has 4 channels, but the model takes 3 \(.*\), in the last axis"),
        (np.zeros((2, 8, 8, 3), bool), "volume is an array of bool"),
        (np.full((2, 8, 8, 3), np.nan), "volume has values that are not finite"),
        ("nowhere", "nowhere does not exist"),
    ],
)
def test_best_says_what_a_volume_must_be(best, volume, message):
    with pytest.raises(UserError, match=message):
        best.predict(volume)


def test_best_takes_one_patient(best, patients):
    with pytest.raises(UserError, match=r"has 2 patients \(P0, P1\), but must have one: give the path of each"):
        best.predict(patients)


def test_best_without_its_file_names_it(tmp_path):
    best = search.load(write_experiment(tmp_path, "mine", dices=dict(DICES))).best
    assert best is not None
    with pytest.raises(UserError, match=r"model\.onnx does not exist"):
        best.predict(np.zeros((2, 8, 8, 3)))
