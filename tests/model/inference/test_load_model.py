"""`load_model` returns what was exported, and names what is wrong with any other file and with its settings."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

from data.preprocess import Preprocessing, fit_image
from data.readers.table import READERS
from data.regions import Region
from model.inference.onnx_file import METADATA_KEY
from model.inference.runtime import load_model
from model.settings import ModelError, Settings
from tests.support.hand_model import NAMES, SETTINGS, flair_network, write_model
from tests.support.opened import opened_files


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


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("place", ["weights.bin", "../weights.bin", "/etc/hostname", "*/_ORT_MEM_ADDR_/*"])
def test_load_model_opens_no_file_that_the_model_names(model, tmp_path, monkeypatch, runtime, place):
    changed = onnx.load(model)
    tensor = changed.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", place), ("offset", "0"), ("length", "8")):
        tensor.external_data.add(key=key, value=value)
    model.write_bytes(changed.SerializeToString())
    (tmp_path / "weights.bin").write_bytes(bytes(8))
    monkeypatch.chdir(tmp_path)  # OpenVINO 2026.4 opens names relative to it
    with opened_files([tmp_path / "weights.bin"]) as opened:
        with pytest.raises(ModelError, match=r"model\.onnx has weights in other files, and may name any file"):
            load_model(model, runtime=runtime)
        assert opened() == set()


def test_load_model_looks_for_other_files_in_graphs_within_graphs(model):
    changed = onnx.load(model)
    inner = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [1.0])
    inner.external_data.add(key="location", value="weights.bin")
    for _ in range(3):
        constant = onnx.helper.make_node("Constant", [], ["w"], value=inner)
        branch = onnx.helper.make_graph([constant], "branch", [], [])
        changed.graph.node.append(onnx.helper.make_node("If", ["c"], ["x"], then_branch=branch, else_branch=branch))
    model.write_bytes(changed.SerializeToString())
    with pytest.raises(ModelError, match="has weights in other files"):
        load_model(model)
    harmless = onnx.load(model)
    del harmless.graph.node[-3:]
    harmless.graph.node[0].name = "location"
    model.write_bytes(harmless.SerializeToString())
    assert load_model(model)[1] == SETTINGS


@pytest.mark.parametrize("content", [b"\x72\x00" * 2001, b"\x72\xa2\x1f" + b"\x0a\x00" * 2001])
def test_load_model_gives_up_on_a_file_of_nothing_but_fields(model, content):
    model.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx cannot be read as ONNX: it is damaged"):
        load_model(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channel_names": ("pre", "flair")}, r"model\.onnx fails at slices of \(2, 16, 16\): it is damaged"),
        (
            {"regions": (Region(name="WT", labels=(1, 2)), Region(name="ET", labels=(2,)))},
            r"returns float32 of shape \(1, 1, 16, 16\), but its settings promise float32 of shape \(1, 2, 16, 16\)",
        ),
    ],
)
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_network_that_does_not_suit_its_settings_is_refused_by_its_name(model, changes, message, runtime):
    settings = replace(SETTINGS, **changes)
    write_model(model, {METADATA_KEY: settings.to_json()})
    network, _ = load_model(model, runtime=runtime)
    size = settings.num_channels
    with pytest.raises(ModelError, match=message):
        network(np.zeros((1, size, 16, 16), np.float32), np.zeros(size, np.float32), np.ones(size, np.float32))


@pytest.mark.parametrize("name", ["", "a\nb", "\ud800", "x" * 201, 7])
def test_load_model_refuses_names_that_cannot_be_printed(model, name):
    for changes, message in (
        ({"channel_names": [name, "flair", "post"]}, "channel_names are"),
        ({"format": 5, "region_thresholds": [], "regions": [{"name": name, "labels": []}]}, "regions are"),
    ):
        write_model(model, {METADATA_KEY: written(**changes)})
        with pytest.raises(ModelError, match=rf"model\.onnx: {message}"):
            load_model(model)


def test_load_model_refuses_a_graph_that_would_never_end(model):
    sound = model.read_bytes()
    for change in (
        lambda changed: changed.graph.node[3].input.__setitem__(0, "normalised"),
        lambda changed: setattr(changed.opset_import[0], "version", 2**40),
        lambda changed: changed.graph.node.reverse(),
    ):
        changed = onnx.load_from_string(sound)
        change(changed)
        model.write_bytes(changed.SerializeToString())
        with pytest.raises(ModelError, match=r"model\.onnx has nodes that wait for each other, so it is damaged"):
            load_model(model)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_load_model_refuses_an_operator_without_its_inputs(model, runtime):
    changed = onnx.load(model)
    changed.graph.node[-1].op_type = "Conv"  # which ends the process of OpenVINO 2026.4
    model.write_bytes(changed.SerializeToString())
    with pytest.raises(ModelError, match=r"model\.onnx cannot be read as ONNX: it is damaged"):
        load_model(model, runtime=runtime)
