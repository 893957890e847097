"""Networks without memory for their weights.

What a file says of its tensors is compared with such a network before anything is allocated, because a file may
exaggerate.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from model.networks.registry import build
from model.segmentation_network import NetworkConfig, SegmentationNetwork
from model.settings import ModelError

Shapes = Mapping[str, tuple[list[int], str]]
"""Shape and type of each tensor, by its name."""


def build_without_memory(config: NetworkConfig) -> SegmentationNetwork:
    """Return a network whose tensors have no memory yet.

    A network that computes with values while it is built, as MONAI's SwinUNETR does, is built whole. The legal values
    of its configuration must keep it small.
    """
    try:
        with torch.device("meta"):
            return build(config)
    except RuntimeError:
        return build(config)


def has_all_buffers(network: nn.Module) -> bool:
    """Return whether a file holds all buffers of a network; others would stay without memory."""
    return {name for name, _ in network.named_buffers()} <= network.state_dict().keys()


def check_shapes(expected: Shapes, found: Shapes) -> None:
    """Check that a file has exactly the tensors of the networks that it describes.

    Raises:
        ModelError: It has not.
    """
    if missing := sorted(expected.keys() - found.keys()):
        raise ModelError(f"{len(missing)} of {len(expected)} tensors are missing, the first is {missing[0]}")
    if extra := sorted(found.keys() - expected.keys()):
        raise ModelError(f"{len(extra)} tensors belong to none of its networks, the first is {extra[0]}")
    for name, (shape, kind) in expected.items():
        if found[name] != (shape, kind):
            is_shape, is_kind = found[name]
            raise ModelError(f"{name} is {is_kind} of shape {is_shape}, but must be {kind} of shape {shape}")


def shapes_of(tensors: Mapping[str, Tensor]) -> Shapes:
    """Return the shape of each tensor, and its type as torch names it."""
    return {name: (list(tensor.shape), str(tensor.dtype)) for name, tensor in tensors.items()}


def is_whole(value: object) -> bool:
    """Return whether a value is a tensor with as many numbers in memory as its shape says; a file may repeat one."""
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.untyped_storage().nbytes() >= value.numel() * value.element_size()
    )
