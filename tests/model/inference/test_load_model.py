"""`load_model` returns what was exported, and names what is wrong with any other file and with its settings."""

import json

import numpy as np
import pytest

from data.preprocess import Preprocessing, fit_image
from data.readers.table import READERS
from model.inference.onnx_file import METADATA_KEY
from model.inference.runtime import load_model
from model.settings import ModelError, Settings
from tests.support.hand_model import NAMES, SETTINGS, flair_network, write_model


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model.onnx", {METADATA_KEY: SETTINGS.to_json()})


def test_load_model_returns_the_network_from_a_file_or_its_folder(model):
    images = np.random.default_rng(0).integers(0, 256, (5, 20, 12, 3), dtype=np.uint8)
    slices = np.stack([fit_image(image, 16) for image in images]).transpose(0, 3, 1, 2).astype(np.float32)
    mean, std = np.array([1, 120, 1], np.float32), np.array([1, 60, 1], np.float32)
    for path in (model, model.parent):
        network, settings = load_model(path, runtime="onnxruntime")
        np.testing.assert_allclose(network(slices, mean, std), flair_network(slices, mean, std), atol=1e-6)
        assert settings == SETTINGS


def test_load_model_names_a_missing_file(tmp_path):
    with pytest.raises(ModelError, match=r"model.onnx does not exist; name an exported model.onnx, or the folder"):
        load_model(tmp_path)


@pytest.mark.parametrize("num_bytes", [0, 10, 200])
def test_load_model_refuses_a_truncated_file(model, num_bytes):
    model.write_bytes(model.read_bytes()[:num_bytes])
    with pytest.raises(ModelError, match=r"model.onnx (cannot be read as ONNX|has no tumour_search settings)"):
        load_model(model)


def test_load_model_refuses_a_foreign_model(tmp_path):
    foreign = write_model(tmp_path / "other.onnx", {"author": "else"})
    with pytest.raises(ModelError, match=r"other.onnx has no tumour_search settings: this program did not export it"):
        load_model(foreign)


def written(**changes) -> str:
    """Return settings as a model stores them, with changes; a change to None removes the setting."""
    values = {
        "format": 4,
        "preprocessing": {},
        "channel_names": ["pre", "flair", "post"],
        "threshold": 0.5,
        "component_share": 0.2,
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
        (written(format=1), "this version reads formats 3 to 5"),
        (written(format=None), "this version reads formats 3 to 5"),
        (
            written(grayscale=None),
            r"must have exactly \['channel_indices', 'channel_names', 'component_share', 'data_format', 'grayscale'",
        ),
        (written(depth=1), r"have \['channel_indices', 'channel_names', 'component_share', 'data_format', 'depth'"),
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
        (written(data_format="minc"), f"data_format is 'minc', but must be one of {', '.join(READERS)}"),
        (written(data_format=[]), rf"data_format is \[\], but must be one of {', '.join(READERS)}"),
        (written(grayscale=1), "grayscale is 1, but must be true or false"),
        (written(component_share="no"), "component_share is 'no', but must be from 0 to 1"),
        (written(component_share=1.5), "component_share is 1.5, but must be from 0 to 1"),
        (
            written(format=3, component_share=None, largest_component="no"),
            "largest_component is 'no', but must be true or false",
        ),
    ],
)
def test_load_model_names_illegal_settings(tmp_path, text, message):
    path = write_model(tmp_path / "model.onnx", {METADATA_KEY: text})
    with pytest.raises(ModelError, match=rf"model.onnx: .*{message}.*; export it again"):
        load_model(path)


@pytest.mark.parametrize(("largest", "share"), [(True, 1.0), (False, 0.0)])
def test_settings_from_before_the_share_of_components_are_read(largest, share):
    text = written(format=3, component_share=None, largest_component=largest)
    assert Settings.from_json(text).component_share == share


@pytest.mark.parametrize("seed", range(3))
def test_settings_are_read_as_they_were_written(seed):
    rng = np.random.default_rng(seed)
    settings = Settings(
        preprocessing=Preprocessing(size=int(rng.integers(1, 512))), threshold=float(rng.random()), channel_names=NAMES
    )
    assert Settings.from_json(settings.to_json()) == settings
