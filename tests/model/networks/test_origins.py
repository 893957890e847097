"""Networks of every origin are trained, saved and exported as the U-Net is, and come back the same."""

from typing import Any

import numpy as np
import pytest
import torch

import tests.support.torchvision_operators  # noqa: F401  (before segmentation_models_pytorch is imported)
from data.preprocess import Preprocessing
from data.regions import Region
from model.export.onnx_export import export_onnx
from model.export.predictor import Predictor, torch_network
from model.export.rehearsal import rehearse
from model.inference.runtime import load_model
from model.inference.volume import predict_volume
from model.networks import NETWORKS, build, find_architecture, read_config
from model.networks.smp import SMP_NETWORKS
from model.settings import Settings
from model.training.checkpoint import load_checkpoint
from model.training.train import train
from model.training.train_config import TrainConfig
from model.unet import TUMOUR_PRIOR
from model.weights import read_weights, write_weights
from tests.support import own_network
from tests.support.fakes import small_pack

SMALL: dict[str, dict[str, Any]] = {
    own_network.NAME: {"width": 2, "kind": "tanh"},
    "monai:UNet": {"width": 2, "depth": 1, "num_res_units": 1},
    "monai:SegResNet": {"width": 2, "depth": 1},
    "monai:SwinUNETR": {"width": 12},
    "monai:DynUNet": {"width": 2, "depth": 2, "residual": True},
    **{name: {"encoder": "resnet18", "depth": 3} for name in SMP_NETWORKS},
}
"""A small network of each architecture."""

QUICK = ("monai:UNet",)
"""The others take the same way, and many seconds each."""

every_origin = pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SMALL]
)

TWO_REGIONS = (Region(name="whole", labels=(1, 2)), Region(name="core", labels=(2,)))


def test_small_networks_are_of_every_architecture():
    assert {*SMALL} == {*NETWORKS} - {"unet"} | {own_network.NAME}


@every_origin
def test_network_comes_back_from_every_file(name, tmp_path):
    config = find_architecture(name).config(**SMALL[name])
    assert read_config(config.to_dict(), own=[own_network.NAME]) == config
    size = max(8, config.min_side)
    pack = small_pack([True, False], size=size)
    [epoch] = train(
        config, TrainConfig(max_epochs=1, batch_size=2, precision="float32", measure_latency=True), pack, pack
    )
    assert epoch.failure is None
    assert epoch.metrics["latency_ms"] > 0
    (tmp_path / "checkpoint.pt").write_bytes(epoch.state.to_bytes())
    network, _ = load_checkpoint(tmp_path / "checkpoint.pt", own=[own_network.NAME])
    settings = Settings(preprocessing=Preprocessing(size=size), channel_names=("t1", "flair", "t1ce"))
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    predictor = Predictor([network])
    write_weights(predictor, tmp_path / "weights.safetensors")
    export_onnx(predictor, tmp_path / "model.onnx", settings, sample_volumes=[images])
    trained = Predictor([epoch.state.network.eval()])
    expected, *found = (
        predict_volume(torch_network(one, torch.device("cpu")), images, settings.preprocessing)
        for one in (trained, predictor, read_weights(tmp_path / "weights.safetensors", own=[own_network.NAME]))
    )
    assert expected.std() > 1e-4
    for one in found:
        np.testing.assert_array_equal(one, expected)
    exported = predict_volume(load_model(tmp_path, runtime="onnxruntime")[0], images, settings.preprocessing)
    np.testing.assert_allclose(exported, expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SMALL if name != own_network.NAME])
def test_rehearsal_passes_for_every_architecture(name):
    config = find_architecture(name).config(**SMALL[name], num_regions=2)
    settings = Settings(
        preprocessing=Preprocessing(size=max(8, config.min_side)),
        channel_names=("t1", "flair", "t1ce"),
        regions=TWO_REGIONS,
        region_thresholds=(0.5, 0.4),
    )
    assert rehearse(config, settings).num_slices == 2


@pytest.mark.slow
@pytest.mark.parametrize("depth", [4, 5])
@pytest.mark.parametrize("name", [name for name in SMALL if "depth" in find_architecture(name).rules()])
def test_network_of_every_depth_starts_its_head_at_the_prior(name, depth):
    config = find_architecture(name).config(**SMALL[name] | {"depth": depth, "num_regions": 5})
    network = build(config)  # which checks the shape of the logits
    biases = [one for _, one in network.named_parameters() if one.shape == (5,)]
    assert biases[-1].sigmoid().tolist() == pytest.approx([TUMOUR_PRIOR] * 5)
