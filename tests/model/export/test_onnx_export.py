"""Exports to ONNX and torch.export equal their network at every size, print nothing, and are written whole."""

import copy
import io
import json
import re
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from data.preprocess import Preprocessing
from model.export.onnx_export import OPSET, export_onnx
from model.export.predictor import Predictor, torch_network
from model.export.torch_program import export_program
from model.export.tracing import ExportError
from model.inference.onnx_file import METADATA_KEY
from model.inference.runtime import load_model
from model.inference.volume import predict_volume
from model.networks import build
from model.segmentation_network import SegmentationNetwork
from model.settings import Settings
from model.unet import UNetConfig
from model.unet_blocks import ACTIVATIONS, NORMS

SETTINGS = Settings(preprocessing=Preprocessing(size=16), threshold=0.4, channel_names=("pre", "flair", "post"))


def volume(seed: int, num_slices: int = 3, height: int = 20, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_slices, height, width, 3), dtype=np.uint8)


DEPTHS = {"batch": 1, "instance": 2}
"""Depth of each network that is exported alone; the ensemble below swaps them. (Tracing takes seconds.)"""


def tiny(norm: str, *, depth: int = 2, in_channels: int = 3, **variant) -> SegmentationNetwork:
    """Return a U-Net in training mode, with dropout, whose batch norm has seen data."""
    torch.manual_seed(depth)
    unet = build(UNetConfig(in_channels=in_channels, depth=depth, width=2, norm=norm, dropout=0.5, **variant))
    side = 16 * unet.config.downscale
    with torch.no_grad():
        for _ in range(20):
            unet.train()(torch.randn(4, in_channels, side, side) + 1)
        head_of(unet).weight.mul_(10)
    return unet


def head_of(unet: SegmentationNetwork) -> torch.nn.Conv2d:
    [head] = [part for name, part in unet.named_modules() if name.split(".")[-1] == "head"]
    assert isinstance(head, torch.nn.Conv2d)
    return head


@pytest.fixture(scope="module", params=["instance", pytest.param("batch", marks=pytest.mark.slow)])
def exported(request, tmp_path_factory):
    """Return a U-Net, its exported file, and the parity that the export reported."""
    unet, path = tiny(request.param, depth=DEPTHS[request.param]), tmp_path_factory.mktemp("export") / "model.onnx"
    parity = export_onnx(
        Predictor([unet], threshold=SETTINGS.threshold),
        path,
        SETTINGS,
        sample_volumes=[volume(0), volume(1, num_slices=1)],
    )
    return unet, path, parity


def run(path, slices: np.ndarray) -> Sequence[Any]:
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
    network, settings = load_model(path, runtime="onnxruntime")
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
    before = tiny(unet.config.norm, depth=unet.config.depth).state_dict()
    assert unet.training
    assert unet.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], value) for name, value in unet.state_dict().items())


def test_export_is_one_file_with_named_axes(exported):
    unet, path, _ = exported
    assert list(path.parent.iterdir()) == [path]
    model = onnx.load(path)
    onnx.checker.check_model(model)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == OPSET
    assert [entry.key for entry in model.metadata_props] == [METADATA_KEY]
    axes = [axis.dim_param or axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
    multiple = {"batch": 2, "instance": 4}[unet.config.norm]
    assert axes == ["batch", 3, f"{multiple}*rows", f"{multiple}*columns"]


@pytest.mark.slow
def test_failed_proof_of_onnx_prints_nothing_and_keeps_the_older_file(tmp_path, capfd):
    unet = tiny("batch", depth=1)
    bias = head_of(unet).bias
    assert bias is not None
    torch.nn.init.constant_(bias, float("nan"))
    (tmp_path / "model.onnx").write_bytes(b"older")
    with pytest.raises(ExportError, match=r"differs from its network by nan in probability .* nothing was written"):
        export_onnx(Predictor([unet], threshold=0.4), tmp_path / "model.onnx", SETTINGS, sample_volumes=[volume(0)])
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
            "the settings have 1 channels, but the network has 3",
        ),
        (SETTINGS, [volume(0)], r"the settings have threshold 0\.4, but the network has 0\.5"),
        (replace(SETTINGS, threshold=0.5), [], "sample_volumes is empty, but the proof needs at least one slice"),
    ],
)
def test_export_refuses_what_it_cannot_prove(tmp_path, settings, samples, message):
    for export in (export_onnx, export_program):
        with pytest.raises(ExportError, match=message):
            export(Predictor([tiny("batch")]), tmp_path / "model", settings, sample_volumes=samples)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Return a predictor that uses everything, its settings, the folder of its two exports, and their parities.

    Two networks of different depth and parts, of which one sees less of the slices; flips, a temperature, and a slice's
    neighbours as channels.
    """
    members = [
        tiny("batch", depth=2, in_channels=9, block="residual", attention=True, deep_supervision=True),
        tiny("group", depth=1, in_channels=9, activation="gelu", downscale=2, packed_context=1, context_slices=0),
    ]
    predictor = Predictor(members, threshold=0.4, flips=True, temperature=1.7)
    settings = replace(SETTINGS, preprocessing=Preprocessing(size=16, context_slices=1))
    folder = tmp_path_factory.mktemp("both")
    parities = [
        export(predictor, folder / name, settings, sample_volumes=[volume(0), volume(1, num_slices=1)])
        for export, name in ((export_onnx, "model.onnx"), (export_program, "model.pt2"))
    ]
    return predictor, settings, folder, parities


@pytest.mark.slow
def test_exports_of_an_ensemble_with_flips_and_temperature_equal_it(both):
    predictor, _, folder, (onnx_parity, program_parity) = both
    assert onnx_parity.max_probability_difference < 1e-5
    assert program_parity.max_probability_difference < 1e-6
    assert (onnx_parity.dice_difference, program_parity.dice_difference) == (0, 0)
    assert predictor.training  # neither export changed it
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "model.pt2"]


@pytest.mark.slow
def test_exports_give_probability_and_mask_at_any_legal_size(both):
    predictor, _, folder, _ = both
    program = torch.export.load(io.BytesIO((folder / "model.pt2").read_bytes())).module()
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    mean, std = torch.full((predictor.in_channels,), 100.0), torch.full((predictor.in_channels,), 50.0)
    for batch, height, width in ((1, 16, 16), (5, 8, 32), (2, 64, 12)):
        slices = torch.rand(batch, predictor.in_channels, height, width) * 255
        with torch.inference_mode():
            expected, _ = copy.deepcopy(predictor).eval()(slices, mean, std)
            found, mask = program(slices, mean, std)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
        assert torch.equal(mask, found >= 0.4)
        inputs = {"slices": slices.numpy(), "mean": mean.numpy(), "std": std.numpy()}
        np.testing.assert_allclose(np.asarray(session.run(["probability"], inputs)[0]), expected, atol=1e-5)
        assert expected.std() > 0.005


VARIANTS = [
    {
        "norm": norm,
        "activation": activation,
        "block": ("plain", "residual")[(row + column) % 2],
        "attention": (row + column // 2) % 2 == 0,
        "deep_supervision": column % 2 == 0,
        "downscale": (1, 2, 4)[(row + column) % 3],
    }
    for row, norm in enumerate(NORMS)
    for column, activation in enumerate(ACTIVATIONS)
]


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_exports_of_every_variant_equal_it(tmp_path, variant):
    predictor = Predictor([tiny(**variant, in_channels=9, packed_context=1, context_slices=0)], threshold=0.4)
    settings = replace(SETTINGS, preprocessing=Preprocessing(size=32, context_slices=1))
    for export in (export_onnx, export_program):
        parity = export(predictor, tmp_path / "model", settings, sample_volumes=[volume(0)])
        assert parity.max_probability_difference < 1e-5
        assert parity.dice_difference == 0


@pytest.mark.slow
def test_program_holds_its_settings_and_no_pickle(both):
    _, settings, folder, _ = both
    with zipfile.ZipFile(folder / "model.pt2") as archive:
        configs = [archive.read(name) for name in archive.namelist() if name.endswith("_config.json")]
        payloads = [payload for config in configs for payload in json.loads(config)["config"].values()]
        assert len(payloads) > 20
        assert not any(payload["use_pickle"] for payload in payloads)
        [inputs] = [name for name in archive.namelist() if "sample_inputs" in name]
        assert archive.read(inputs) == b""
        [extra] = [name for name in archive.namelist() if name.endswith(f"extra/{METADATA_KEY}")]
        assert Settings.from_json(archive.read(extra).decode()) == settings


@pytest.mark.slow
def test_exports_do_not_hold_paths_of_the_machine(both):
    source = str(Path(torch.__file__).parent).encode(), str(Path(__file__).parents[3]).encode()
    for path in both[2].iterdir():
        assert not any(folder in path.read_bytes() for folder in source), path


def test_failed_proof_of_a_program_keeps_the_older_file(tmp_path):
    unet = tiny("batch", depth=1)
    bias = head_of(unet).bias
    assert bias is not None
    torch.nn.init.constant_(bias, float("nan"))
    (tmp_path / "model.pt2").write_bytes(b"older")
    with pytest.raises(ExportError, match="differs from its network by nan"):
        export_program(Predictor([unet], threshold=0.4), tmp_path / "model.pt2", SETTINGS, sample_volumes=[volume(0)])
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]


def test_no_file_of_a_model_folder_is_unpickled():
    """Only the readers of checkpoints and of pretrained weights, which set weights_only, may call a function that can
    unpickle."""
    root = Path(__file__).parents[3]
    calls = [
        (path.name, line.strip())
        for room in ("data", "model", "search")
        for path in sorted((root / room).rglob("*.py"))
        for line in path.read_text().splitlines()
        if re.search(r"\b(torch\.load|(?:cloud)?pickle\.loads?|export\.load|joblib\.load|allow_pickle=True)\b", line)
        and "`" not in line
    ]
    # tune_internals.py reads the error of a trial that Tune pickled on this machine, in the search that is running.
    readers = {"checkpoint.py", "tune_internals.py", "smp_encoder.py", "torch_program.py"}
    assert {name for name, _ in calls} == readers
    assert [line for name, line in calls if name == "tune_internals.py"] == [
        "error = pickle.loads(Path(trial.pickled_error_file).read_bytes())"
    ]
    others = [line for name, line in calls if name != "tune_internals.py"]
    assert all("weights_only=True" in line or "io.BytesIO(content)" in line for line in others)
