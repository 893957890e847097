"""Slices of several requests run together, and each volume gets the probabilities that it has alone."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from data.preprocess import Preprocessing
from model.export.predictor import Predictor, torch_network
from model.inference.volume import predict_volume
from model.serve.batching import BatchConfig, Batcher
from model.unet import NORMS, UNet, UNetConfig


@pytest.mark.parametrize("norm", NORMS)
def test_batched_volumes_get_the_probabilities_they_have_alone(norm):
    torch.manual_seed(0)
    network = torch_network(Predictor([UNet(UNetConfig(depth=1, width=2, norm=norm))]), torch.device("cpu"))
    rng = np.random.default_rng(0)
    # Of very different brightness: a mean and std taken from a neighbour would show.
    volumes = [rng.integers(0, 20 + 30 * n, (3, 16, 16, 3)).astype(np.uint8) for n in range(8)]
    sizes = []

    def counted(slices: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        sizes.append(len(slices))
        time.sleep(0.2 if len(sizes) == 1 else 0)  # the others come while the first batch runs
        return network(slices, mean, std)

    alone = [predict_volume(network, volume, Preprocessing(size=16)) for volume in volumes]
    with Batcher(counted, BatchConfig(max_batch=12)) as batcher, ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda one: predict_volume(batcher, one, Preprocessing(size=16)), volumes))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert sum(sizes) == 24
    assert max(sizes) == 12
    assert len(sizes) <= 4


def test_batcher_runs_a_lone_slice_without_waiting_for_others():
    def network(slices: np.ndarray, *_: np.ndarray) -> np.ndarray:
        return slices

    slices, mean, std = np.ones((1, 3, 2, 2), np.float32), np.zeros(3, np.float32), np.ones(3, np.float32)
    with Batcher(network, BatchConfig()) as batcher:
        batcher(slices, mean, std)
        seconds = []
        for _ in range(50):
            began = time.perf_counter()
            batcher(slices, mean, std)
            seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.002
