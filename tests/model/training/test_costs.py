"""What a network costs: its parameters, and its latency, which is measured once per training."""

import math
from itertools import islice

import pytest
import torch

from model.device import find_device
from model.segmentation_network import num_parameters
from model.training.costs import latency_ms, network_costs
from model.training.train import EpochResult, train
from model.training.train_config import TrainConfig
from model.unet import UNet, UNetConfig
from tests.support.fakes import constant_state, small_pack

PACK = small_pack([True, False, True, False])


def run(unet: UNetConfig, *, measure_latency: bool, resume_from: bytes | None = None, stop_after: int = 3):
    """Return the results of the first epochs of a training of three."""
    config = TrainConfig(max_epochs=3, batch_size=2, precision="float32", measure_latency=measure_latency)
    return list(islice(train(unet, config, PACK, PACK, resume_from=resume_from), stop_after))


def losses(results: list[EpochResult]) -> list[tuple[float, float]]:
    return [(result.metrics["train_loss"], result.metrics["val_dice"]) for result in results]


def latencies(results: list[EpochResult]) -> list[float]:
    return [result.metrics["latency_ms"] for result in results]


def latency(unet: UNetConfig, *, height: int, width: int, precision: str = "float32") -> float:
    device = find_device(precision, channels_last_on_cpu=unet.channels_last_on_cpu)
    network = device.move(UNet(unet))
    return latency_ms(network, height=height, width=width, device=device)


def test_million_parameters_are_those_of_the_network():
    state = constant_state(0.0, depth=2, width=4)
    costs = network_costs(state, (8, 8), find_device("float32"), measure_latency=False)
    assert costs == {"million_parameters": num_parameters(state.network) / 1e6}


def test_million_parameters_by_hand():
    """Depth 1, width 1: blocks 3-1, 1-2 and 2-1 with two convolutions and norms each, an up-convolution, a head."""
    blocks = sum(9 * a * b + 9 * b * b + 4 * b for a, b in ((3, 1), (1, 2), (2, 1)))
    state = constant_state(0.0, depth=1, width=1)
    costs = network_costs(state, (8, 8), find_device("float32"), measure_latency=False)
    assert costs["million_parameters"] == (blocks + (2 * 4 + 1) + (1 + 1)) / 1e6


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_latency_is_a_positive_number_for_slices_that_are_not_square(precision, norm):
    found = latency(UNetConfig(depth=2, width=2, in_channels=4, norm=norm), height=8, width=16, precision=precision)
    assert 0 < found < math.inf


def test_latency_of_a_deep_wide_network_is_longer():
    small, large = UNetConfig(depth=1, width=2), UNetConfig(depth=4, width=16)
    # About 40 times on two busy cores; the least of three, so that a busy neighbour cannot slow down the small one.
    small_ms = min(latency(small, height=32, width=32) for _ in range(3))
    assert latency(large, height=32, width=32) > 2 * small_ms


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_train_learns_the_same_whether_latency_is_measured(norm):
    unet = UNetConfig(depth=1, width=2, dropout=0.3, norm=norm)
    with_latency, without = (run(unet, measure_latency=measured) for measured in (True, False))
    assert losses(with_latency) == losses(without)
    weights, expected = (results[-1].state.network.state_dict() for results in (with_latency, without))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_train_has_costs_in_every_epoch_and_latency_only_on_request():
    unet = UNetConfig(depth=1, width=2)
    asked, not_asked = (run(unet, measure_latency=measured) for measured in (True, False))
    assert len(latencies(asked)) == 3
    assert len(set(latencies(asked))) == 1
    assert not any("latency_ms" in result.metrics for result in not_asked)
    millions = num_parameters(UNet(unet)) / 1e6
    assert [result.metrics["million_parameters"] for result in asked + not_asked] == [millions] * 6


def test_train_resumed_keeps_the_latency_it_had():
    unet = UNetConfig(depth=1, width=2)
    first = run(unet, measure_latency=True, stop_after=1)
    state = first[0].state
    measured = state.history[0]["latency_ms"]
    assert latencies(run(unet, measure_latency=True, resume_from=state.to_bytes())) == [measured] * 2
    state.history[0]["latency_ms"] = 1234.5  # as on another device
    assert latencies(run(unet, measure_latency=True, resume_from=state.to_bytes())) == [1234.5] * 2
