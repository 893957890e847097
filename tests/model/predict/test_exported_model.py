"""A model for use from Python predicts what the command predicts, and says what runs it."""

import numpy as np
import pytest

from data.preprocess import Preprocessing
from model.inference.volume import predict_volume
from model.predict.exported_model import ExportedModel
from model.settings import ModelError
from tests.support.hand_model import SETTINGS, flair_network, write_model_of


@pytest.mark.parametrize("batch_size", [None, 1, 4])
def test_exported_model_returns_probabilities_and_masks(model, batch_size):
    images = np.random.default_rng(0).integers(0, 256, (5, 20, 12, 3), dtype=np.uint8)
    loaded = ExportedModel.load(model.parent, runtime="onnxruntime")
    assert (loaded.file, loaded.settings) == (model, SETTINGS)
    expected = predict_volume(flair_network, images, Preprocessing(size=16))
    np.testing.assert_allclose(loaded.probability(images, batch_size=batch_size), expected, atol=1e-6)
    masks = loaded.segment(images, batch_size=batch_size)
    assert (masks == (loaded.probability(images, batch_size=batch_size) >= SETTINGS.threshold)).all()


def test_segment_uses_the_threshold_of_the_model(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    low, high = (
        ExportedModel.load(write_model_of(tmp_path / f"{threshold}.onnx", threshold=threshold)).segment(images).sum()
        for threshold in (0.3, 0.7)
    )
    assert low > high > 0


def test_choice_names_engine_precision_and_device(model):
    loaded = ExportedModel.load(model, runtime="onnxruntime")
    assert str(loaded.runtime) == f"onnxruntime, float32, on the {loaded.runtime.device}"
    assert loaded.default_batch_size == (1 if loaded.runtime.device == "CPU" else 16)


def test_missing_model_is_named(tmp_path):
    with pytest.raises(ModelError, match="does not exist; name an exported model"):
        ExportedModel.load(tmp_path / "nothing")
