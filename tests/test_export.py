"""The export: equal to its network at every size, quiet, whole or not at all."""

import copy

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from data.preprocess import Preprocessing
from model.export import OPSET, ExportError, export_onnx
from model.inference import predict_volume
from model.predictor import Predictor, torch_network
from model.runtime import METADATA_KEY, load_model
from model.settings import Settings
from model.unet import NORMS, UNet, UNetConfig

SETTINGS = Settings(preprocessing=Preprocessing(size=16), threshold=0.4, channel_names=("pre", "flair", "post"))


def volume(seed: int, num_slices: int = 3, height: int = 20, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_slices, height, width, 3), dtype=np.uint8)


def tiny(norm: str) -> UNet:
    """Return a U-Net in training, with dropout, whose batch norm has seen something."""
    torch.manual_seed(0)
    unet = UNet(UNetConfig(depth=2, width=2, norm=norm, dropout=0.5))
    with torch.no_grad():
        for _ in range(20):
            unet.train()(torch.randn(4, 3, 16, 16) + 1)
        unet.head.weight.mul_(10)
    return unet


@pytest.fixture(scope="module", params=NORMS)
def exported(request, tmp_path_factory):
    """Return a U-Net, its exported file, and the parity that the export reported."""
    unet, path = tiny(request.param), tmp_path_factory.mktemp("export") / "model.onnx"
    parity = export_onnx(
        Predictor([unet], threshold=SETTINGS.threshold),
        path,
        SETTINGS,
        sample_volumes=[volume(0), volume(1, num_slices=1)],
    )
    return unet, path, parity


def run(path, slices: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    mean, std = np.full(3, 100, np.float32), np.full(3, 50, np.float32)
    return session.run(["probability", "mask"], {"slices": slices, "mean": mean, "std": std})


def test_export_proves_parity(exported):
    _, _, parity = exported
    assert 0 <= parity.max_probability_difference < 1e-5
    assert parity.dice_difference == 0
    assert parity.num_slices == 4


@pytest.mark.parametrize("seed", range(5))
def test_exported_model_predicts_unseen_volumes_like_its_network(exported, seed):
    unet, path, _ = exported
    network, settings = load_model(path)
    assert settings == SETTINGS
    one = predict_volume(network, volume(seed + 10), Preprocessing(size=16))
    other = predict_volume(
        torch_network(Predictor([unet]), torch.device("cpu")), volume(seed + 10), Preprocessing(size=16)
    )
    np.testing.assert_allclose(one, other, atol=1e-5)
    assert one.std() > 0.005


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 3, 16, 16), (5, 3, 8, 32), (2, 3, 64, 12)])
def test_exported_model_takes_any_number_of_slices_of_any_legal_size(exported, shape):
    unet, path, _ = exported
    slices = np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)
    probability, mask = run(path, slices)
    with torch.inference_mode():
        expected = copy.deepcopy(unet).eval()((torch.from_numpy(slices) - 100) / 50).sigmoid().squeeze(1)
    np.testing.assert_allclose(probability, expected, atol=1e-5)
    assert (mask == (probability >= np.float32(0.4))).all()


def test_export_leaves_the_network_as_it_was(exported):
    unet, _, _ = exported
    before = tiny(unet.config.norm).state_dict()
    assert unet.training
    assert unet.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], value) for name, value in unet.state_dict().items())


def test_export_is_one_file_with_named_axes(exported):
    _, path, _ = exported
    assert list(path.parent.iterdir()) == [path]
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == OPSET
    assert [entry.key for entry in model.metadata_props] == [METADATA_KEY]
    axes = [axis.dim_param or axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
    assert axes == ["batch", 3, "4*rows", "4*columns"]


def test_export_without_parity_is_quiet_and_leaves_the_older_file(tmp_path, capfd):
    unet = tiny("batch")
    torch.nn.init.constant_(unet.head.bias, float("nan"))
    (tmp_path / "model.onnx").write_bytes(b"older")
    with pytest.raises(ExportError, match=r"differs from its network by nan in probability .* nothing was written"):
        export_onnx(Predictor([unet]), tmp_path / "model.onnx", SETTINGS, sample_volumes=[volume(0)])
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("settings", "samples", "message"),
    [
        (
            Settings(preprocessing=Preprocessing(size=18), threshold=0.5, channel_names=("pre", "flair", "post")),
            [volume(0)],
            "size is 18, but must be divisible by 4",
        ),
        (
            Settings(preprocessing=Preprocessing(size=16), threshold=0.5, channel_names=("grey",)),
            [volume(0)],
            "the settings have 1 channels, but the network 3",
        ),
        (SETTINGS, [], "sample_volumes is empty, but the proof needs at least one slice"),
    ],
)
def test_export_refuses_what_it_could_not_prove(tmp_path, settings, samples, message):
    with pytest.raises(ExportError, match=message):
        export_onnx(Predictor([tiny("batch")]), tmp_path / "model.onnx", settings, sample_volumes=samples)
    assert not list(tmp_path.iterdir())
