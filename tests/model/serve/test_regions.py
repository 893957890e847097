"""A model of several regions in the service: what it says of them, and files whose names spell channels otherwise."""

import base64
import json

import numpy as np
import pytest
import torch

from data.preprocess import Preprocessing
from data.readers.volumes.formats.grid import to_grid
from data.readers.volumes.formats.table import read_volume_file
from data.regions import parse_regions
from model.export.onnx_export import export_onnx
from model.export.predictor import Predictor
from model.settings import Settings
from model.unet import UNet, UNetConfig
from tests.support.service import ask, nifti, post_form, serving

REGIONS = parse_regions(("brats2021",))


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def regions_port(folder, tmp_path_factory):
    torch.manual_seed(0)
    unet = UNet(UNetConfig(in_channels=2, num_regions=3, depth=1, width=2))
    with torch.no_grad():
        unet.head.weight.mul_(20)
    settings = Settings(
        preprocessing=Preprocessing(size=16),
        channel_names=("t1c", "flair"),
        data_format="nifti",
        regions=REGIONS,
        region_thresholds=(0.2, 0.3, 0.4),
    )
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    volume = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 2), dtype=np.uint8)
    export_onnx(Predictor([unet], threshold=settings.region_thresholds), path, settings, sample_volumes=[volume])
    with serving(path, folder) as port:
        yield port


def files_of(tmp_path, *names):
    paths = [nifti(tmp_path / f"C_{name}.nii.gz", seed) for seed, name in enumerate(names)]
    return [(f"file{index}", path.name, path.read_bytes()) for index, path in enumerate(paths)]


def test_answer_has_each_region_and_the_labels_of_the_data(regions_port, tmp_path):
    answer = json.loads(post_form(regions_port, *files_of(tmp_path, "t1c", "flair"), output="json").body)
    assert [(one["name"], one["labels"], one["threshold"]) for one in answer["regions"]] == [
        ("WT", [1, 2, 4], 0.2),
        ("TC", [1, 4], 0.3),
        ("ET", [4], 0.4),
    ]
    (tmp_path / "mask.nii.gz").write_bytes(base64.b64decode(answer["mask"]["base64"]))
    labels = to_grid(tmp_path, read_volume_file(tmp_path / "mask.nii.gz")).values
    for one, region in zip(answer["regions"], REGIONS, strict=True):
        assert one["pixels"] == np.isin(labels, region.labels).sum()
        assert len(one["colour"]) == 7
    assert answer["tumour_pixels"] == (labels > 0).sum() > 0


def test_health_names_the_regions(regions_port):
    health = json.loads(ask(regions_port, "GET", "/healthz").body)
    assert health["regions"] == {"WT": [1, 2, 4], "TC": [1, 4], "ET": [4]}
    assert health["region_thresholds"] == {"WT": 0.2, "TC": 0.3, "ET": 0.4}


@pytest.mark.parametrize("names", [("t1gd", "t2f"), ("T1ce", "FLAIR"), ("t1-post", "t2_flair")])
def test_files_may_spell_the_channels_otherwise(regions_port, tmp_path, names):
    expected = post_form(regions_port, *files_of(tmp_path, "t1c", "flair"))
    found = post_form(regions_port, *reversed(files_of(tmp_path, *names)))
    assert found.status == expected.status == 200
    assert found.body == expected.body


def test_a_spelling_that_two_files_have_is_refused(regions_port, tmp_path):
    reply = post_form(regions_port, *files_of(tmp_path, "t1gd", "t1ce"))
    assert reply.status == 422
    assert "the names do not say which file is which channel" in reply.error
