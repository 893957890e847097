"""The size of a network and its latency, measured on the device that trains it."""

import statistics
import time

import torch

from model.device import Device
from model.segmentation_network import SegmentationNetwork, num_parameters
from model.training.checkpoint import TrainState

NUM_WARM_UP = 3
NUM_RUNS = 15
"""Enough for a median that one interruption does not move."""


def network_costs(
    state: TrainState, side: tuple[int, int], device: Device, *, measure_latency: bool
) -> dict[str, float]:
    """Return `million_parameters` and, if `measure_latency` is set, `latency_ms`.

    A resumed training keeps the latency of its first epoch, which may have been measured on another device.

    Args:
        side: Height and width of a slice, in pixels.
    """
    costs = {"million_parameters": num_parameters(state.network) / 1e6}
    if measure_latency and state.history:
        costs["latency_ms"] = state.history[0]["latency_ms"]
    elif measure_latency:
        costs["latency_ms"] = latency_ms(state.network, height=side[0], width=side[1], device=device)
    return costs


@torch.inference_mode()
def latency_ms(network: SegmentationNetwork, *, height: int, width: int, device: Device) -> float:
    """Return the median time that the network takes for one slice, in milliseconds, in the precision of training."""
    network.eval()
    slices = torch.zeros(1, network.config.in_channels, height, width, device=device.device)
    slices = slices.to(memory_format=device.memory_format)
    seconds = []
    for _ in range(NUM_WARM_UP + NUM_RUNS):
        _synchronise(device)
        started = time.perf_counter()
        with device.autocast():
            network(slices)
        _synchronise(device)
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds[NUM_WARM_UP:])


def _synchronise(device: Device) -> None:
    if device.device.type == "cuda":
        torch.cuda.synchronize(device.device)
