"""`predict_volume` gives the network exactly what training gave it, and returns probabilities at the images' size."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from data.loaders import eval_batches
from data.packing.pack import pack_patients
from data.patient import Patient, Volume
from data.preprocess import Preprocessing
from model.inference.volume import predict_volume
from tests.support.fakes import write_lgg_patient
from tests.support.hand_model import flair_network
from tests.support.scans import scan_lgg as scan


def volume(seed: int, num_slices: int = 5, height: int = 20, width: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_slices, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("seed", range(5))
def test_predict_volume_does_not_depend_on_the_batch(seed):
    one, other = (
        predict_volume(flair_network, volume(seed), Preprocessing(size=16), batch_size=size) for size in (2, 16)
    )
    assert (one == other).all()
    assert one.shape == (1, 5, 20, 12)


def test_predict_volume_has_the_values_worked_by_hand():
    images = np.zeros((1, 4, 4, 3), np.uint8)
    images[0, :2, :, 1], images[0, 2:, :, 1] = 100, 200  # mean 150, standard deviation 50: sigmoid of -1 and of 1
    probability = predict_volume(flair_network, images, Preprocessing(size=4))
    assert probability[0, 0, :, 0] == pytest.approx([0.268941, 0.268941, 0.731059, 0.731059], abs=1e-5)


def test_predict_volume_normalises_as_training_does(tmp_path):
    write_lgg_patient(tmp_path, "A", height=20, width=12)
    (patient,) = scan(tmp_path).patients
    pack = pack_patients([patient], Preprocessing(size=16))
    seen = []

    def network(slices, mean, std):
        seen.append((slices, mean, std))
        return np.zeros((len(slices), 1, 16, 16), np.float32)

    predict_volume(network, patient.read().images, Preprocessing(size=16))
    ((slices, mean, std),) = seen
    assert (slices == pack.images.transpose(0, 3, 1, 2)).all()
    assert slices.dtype == np.float32
    assert (mean == pack.mean[0]).all()
    assert (std == pack.std[0]).all()


def test_predict_volume_of_a_black_volume_is_finite():
    assert np.isfinite(predict_volume(flair_network, np.zeros((2, 8, 8, 3), np.uint8), Preprocessing(size=16))).all()


@dataclass(frozen=True, kw_only=True)
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
    """Return 5 slices of 20 x 14 whose head is rows 3 to 16, columns 4 to 11; floats are negative in part."""
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
def test_network_gets_bit_for_bit_what_training_gave_it(preprocessing, dtype, channels):
    images = volume_in_air(dtype, channels)
    masks = np.zeros(images.shape[:3], np.uint8)
    volume = Volume(images=images, masks=masks, numbers=(1, 2, 3, 4, 5))
    pack = pack_patients([VolumePatient(volume=volume)], preprocessing)
    trained = [batch.images for batch in eval_batches(pack, np.arange(5), batch_size=2)]
    shown = []

    def network(slices, mean, std):
        assert slices.flags.c_contiguous
        assert slices.dtype == mean.dtype == std.dtype == np.float32
        shown.append((slices - mean[:, None, None]) / std[:, None, None])
        return slices[:, :1] / 255

    probability = predict_volume(network, images, preprocessing, batch_size=2)
    assert [batch.shape[0] for batch in shown] == [2, 2, 1]
    for found, expected in zip(shown, trained, strict=True):
        assert found.shape[1] == pack.num_channels == channels * (1 + 2 * preprocessing.context_slices)
        np.testing.assert_array_equal(found, expected)
    assert probability.shape == (1, 5, 20, 14)
    if preprocessing.crop == "head":
        outside = np.ones((20, 14), bool)
        outside[3:17, 4:12] = False
        assert (probability[:, :, outside] == 0).all()
    assert probability.any(axis=(2, 3)).all()
