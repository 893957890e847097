"""A second network, which is registered in this test alone, is trained, resumed, saved, exported and predicted with."""

from itertools import islice

import numpy as np
import pytest
import torch

from data.errors import UserError
from data.preprocess import Preprocessing
from model.export.onnx_export import export_onnx
from model.export.predictor import Predictor, torch_network
from model.inference.runtime import load_model
from model.inference.volume import predict_volume
from model.networks import DEFAULT_ARCHITECTURE, NETWORKS, build, find_architecture, read_config
from model.settings import Settings
from model.training.checkpoint import CheckpointError, load_checkpoint
from model.training.train import EpochResult, train
from model.training.train_config import TrainConfig
from model.unet import UNet, UNetConfig
from model.weights import read_weights, write_weights
from tests.support.fakes import small_pack
from tests.support.plain_network import PLAIN, Plain, PlainConfig
from tests.support.training import without_clocks

PACK = small_pack([True, False, True], size=9)  # which no U-Net could take
CONFIG = PlainConfig(kernel=5)
SETTINGS = Settings(preprocessing=Preprocessing(size=9), channel_names=("t1", "flair", "t1ce"))


@pytest.fixture(autouse=True)
def plain(monkeypatch) -> None:
    monkeypatch.setitem(NETWORKS, "plain", PLAIN)


def trained(epochs: int = 2, *, resume_from: bytes | None = None) -> list[EpochResult]:
    config = TrainConfig(max_epochs=2, batch_size=2, precision="float32")
    return list(islice(train(CONFIG, config, PACK, PACK, resume_from=resume_from), epochs))


def test_second_network_trains_and_resumes_bit_for_bit(tmp_path):
    whole = trained()
    [first] = trained(1)
    [second] = trained(resume_from=first.state.to_bytes())
    assert without_clocks([second]) == without_clocks(whole[-1:])
    (tmp_path / "checkpoint.pt").write_bytes(second.state.to_bytes())
    network, history = load_checkpoint(tmp_path / "checkpoint.pt")
    assert (network.config, len(history)) == (CONFIG, 2)
    assert isinstance(network, Plain)
    assert torch.equal(network.convolution.weight, second.state.network.state_dict()["convolution.weight"])


def test_second_network_predicts_the_same_from_weights_and_from_onnx(tmp_path):
    predictor = Predictor([trained()[-1].state.network.eval()], flips=True)
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 9, 3), dtype=np.uint8)
    write_weights(predictor, tmp_path / "weights.safetensors")
    export_onnx(predictor, tmp_path / "model.onnx", SETTINGS, sample_volumes=[images])
    exported, settings = load_model(tmp_path / "model.onnx", runtime="onnxruntime")
    networks = [
        torch_network(one, torch.device("cpu")) for one in (predictor, read_weights(tmp_path / "weights.safetensors"))
    ]
    expected, from_weights, from_onnx = (
        predict_volume(network, images, settings.preprocessing) for network in (*networks, exported)
    )
    assert expected.std() > 1e-3
    np.testing.assert_array_equal(from_weights, expected)
    np.testing.assert_allclose(from_onnx, expected, atol=1e-5)


def test_ensemble_of_two_architectures_survives_the_weights_file(tmp_path):
    predictor = Predictor([build(CONFIG), build(UNetConfig(depth=1, width=2))])
    write_weights(predictor, tmp_path / "w")
    found = read_weights(tmp_path / "w")
    assert found.configs == predictor.configs
    assert [type(network) for network in found.networks] == [Plain, UNet]
    assert found.side_multiple == 2


def test_restore_refuses_the_state_of_another_architecture():
    unet = build(UNetConfig(depth=1, width=2))
    [first] = trained(1)
    first.state.network = unet
    with pytest.raises(CheckpointError, match=r"checkpoint is of PlainConfig.*this training is of UNetConfig"):
        first.state.restore(trained(1)[0].state.to_bytes())


@pytest.mark.parametrize("config", [CONFIG, UNetConfig(depth=2, norm="batch", dropout=0.25, in_channels=1)])
def test_read_config_is_the_inverse_of_to_dict(config):
    assert config.to_dict()["architecture"] == config.architecture
    assert read_config(config.to_dict()) == config


def test_read_config_without_an_architecture_is_a_unet():
    assert read_config({"depth": 2}) == UNetConfig(depth=2)
    assert DEFAULT_ARCHITECTURE == "unet"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"architecture": "vgg"}, f"architecture is 'vgg', but must be one of {', '.join((*NETWORKS, 'plain'))}"),
        ({"architecture": ["unet"]}, "architecture is .*, but must be one of"),
        ({"deep": 1}, "the configuration of a network is not legal: .*deep"),
        ({"depth": "three"}, "the configuration of a network is not legal"),
        ({"depth": 9}, "depth is 9, but must be from 1 to 7"),
    ],
)
def test_read_config_refuses_what_is_no_network(values, message):
    with pytest.raises(UserError, match=message):
        read_config(values)


def test_network_without_a_bottom_takes_every_side():
    assert (CONFIG.side_multiple, CONFIG.min_side) == (1, 1)
    assert (UNetConfig(depth=3).side_multiple, UNetConfig(depth=3).min_side) == (8, 16)


def test_every_network_is_registered_under_its_own_name():
    assert all(find_architecture(name).config().architecture == name for name in NETWORKS)
