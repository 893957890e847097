"""The networks by name, and `build`, the one way to make a network from its configuration.

A new network takes three files: its own, as model/unet.py is, a row in this one, and a line in ROOMS of
tests/test_architecture.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from data.errors import UserError
from model.segmentation_network import NetworkConfig, SegmentationNetwork
from model.unet import UNet, UNetConfig


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One kind of network."""

    config: type[NetworkConfig]
    """The class of its configurations, whose `architecture` is the name in NETWORKS."""

    network: Callable[..., SegmentationNetwork]
    """Builds a network from one such configuration, with random weights."""

    title: str
    """Its name in a model card."""


NETWORKS: dict[str, Architecture] = {
    UNetConfig.architecture: Architecture(config=UNetConfig, network=UNet, title="U-Net"),
}

DEFAULT_ARCHITECTURE = UNetConfig.architecture
"""The architecture of a file that names none, because it was written when there was only one."""


def build(config: NetworkConfig) -> SegmentationNetwork:
    """Return a new network of this configuration, with random weights from torch's default generator."""
    return find_architecture(config.architecture).network(config)


def find_architecture(name: str) -> Architecture:
    """Return the architecture of this name.

    Raises:
        UserError: There is no such architecture; the message lists the legal names.
    """
    if name not in NETWORKS:
        raise UserError(f"architecture is {name!r}, but must be one of {', '.join(NETWORKS)}")
    return NETWORKS[name]


def read_config(values: Mapping[str, Any]) -> NetworkConfig:
    """Return the configuration that `NetworkConfig.to_dict` wrote; without an architecture, it is a U-Net's.

    Raises:
        UserError: The architecture is unknown, or a field is unknown or has an illegal value.
    """
    fields = dict(values)
    architecture = find_architecture(str(fields.pop("architecture", DEFAULT_ARCHITECTURE)))
    try:
        return architecture.config(**fields)
    except TypeError as error:
        raise UserError(f"the configuration of a network is not legal: {error}") from error
