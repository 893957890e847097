"""Rehearse what a network goes through, in seconds and before a search: one step of training, both exports, the proof.

So a network that the exporter or the proof refuses is found before hours are spent on its training.
"""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from data.errors import UserError
from model.export.onnx_export import proven_onnx
from model.export.parity import Parity
from model.export.predictor import Predictor
from model.export.torch_program import proven_program
from model.export.tracing import trace
from model.networks import build, start_weights
from model.segmentation_network import NetworkConfig, SegmentationNetwork
from model.settings import Settings

T = TypeVar("T")

NUM_SLICES = 2
"""Slices of noise that the step and the proof take; batch norm needs two values where a network pools a whole slice."""

_EXPORTS: dict[str, Callable[..., tuple[bytes, Parity]]] = {"ONNX": proven_onnx, "torch.export": proven_program}


def rehearse(config: NetworkConfig, settings: Settings) -> Parity:
    """Return how much the exports of a new network of this configuration differ from it; the worse one of the two.

    It runs on the CPU, in float32, on slices of the settings' size. Global random states are left as they are, and
    nothing is written.

    Raises:
        UserError: The network cannot be built, trained or exported; the message says which, and why.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network = _attempt(config, "be built", partial(build, config))
        start_weights(network)
        size = settings.preprocessing.size
        _attempt(config, f"be trained on {size} x {size} pixels", partial(_train, network, size))
    predictor = Predictor([network.eval()], threshold=settings.thresholds)
    volume = np.random.default_rng(0).integers(0, 256, (NUM_SLICES, size, size, len(settings.channel_names)), np.uint8)
    program = _attempt(config, "be exported", partial(trace, predictor, settings))
    found = []
    for name, export in _EXPORTS.items():
        proven = partial(export, predictor, settings, sample_volumes=[volume], program=program)
        found.append(_attempt(config, f"be exported to {name}", proven)[1])
    return max(found, key=lambda parity: parity.max_probability_difference)


def _train(network: SegmentationNetwork, size: int) -> None:
    """Run one forward and one backward pass."""
    slices = torch.randn(NUM_SLICES, network.config.in_channels, size, size)
    network.train()(slices).mean().backward()
    unused = [name for name, one in network.named_parameters() if one.requires_grad and one.grad is None]
    network.zero_grad(set_to_none=True)
    if unused:
        raise ValueError(
            f"{len(unused)} parameters have no part in the logits, and workers would wait for their gradients: "
            f"remove them or freeze them (requires_grad_(False)); the first is {unused[0]}"
        )


def _attempt(config: NetworkConfig, what: str, action: Callable[[], T]) -> T:
    try:
        return action()
    except (UserError, MemoryError):
        raise
    except Exception as error:  # torch, the exporter and the runtime raise many classes
        raise UserError(f"the network {config.architecture} cannot {what}: {_reason(error)} ({config})") from error


def _reason(error: BaseException) -> str:
    """Return the first line of the innermost cause, which the exporter wraps in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
