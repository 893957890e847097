"""The list of networks, and `build`, the one way to make a network from its configuration.

A new network takes three files: its own, as model/unet.py is, a row in this one, and a line in ROOMS of
tests/test_architecture.py. Somebody else's takes none: see `model.networks.own`.
"""

from collections.abc import Collection, Mapping
from typing import Any

from data.errors import UserError, did_you_mean
from model.input_view import InputView, with_view
from model.networks.architecture import Architecture
from model.networks.monai import MONAI_NETWORKS
from model.networks.own import find_own, is_own
from model.networks.smp import SMP_NETWORKS
from model.segmentation_network import NetworkConfig, SegmentationNetwork
from model.unet import UNet, UNetConfig

NETWORKS: dict[str, Architecture] = {
    UNetConfig.architecture: Architecture(config=UNetConfig, network=UNet, title="U-Net"),
    **MONAI_NETWORKS,
    **SMP_NETWORKS,
}

DEFAULT_ARCHITECTURE = UNetConfig.architecture
"""The architecture of a file that names none, because it was written when there was only one."""


def build(config: NetworkConfig) -> SegmentationNetwork:
    """Return a new network of this configuration, with random weights from torch's default generator.

    Raises:
        UserError: The package that it comes from is not installed, or refuses the configuration.
    """
    architecture = find_architecture(config.architecture)
    architecture.check_installed()
    return with_view(architecture.network, config)


def start_weights(network: SegmentationNetwork) -> None:
    """Give a new network the pretrained weights that its configuration names, if it names any.

    Training calls this once, before its first batch. A network that is restored or rebuilt has its own weights, so it
    needs neither the file nor the hub again.

    Raises:
        UserError: The weights cannot be read or fetched, or are those of another network.
    """
    own = network.network if isinstance(network, InputView) else network
    if (start := find_architecture(own.config.architecture).start) is not None:
        start(own, own.config)


def find_architecture(name: str) -> Architecture:
    """Return the architecture of this name; `package.module:function` is a function of the caller's own.

    That module is imported, so `name` must not come from a file: `read_config` reads those.

    Raises:
        UserError: There is no such architecture; the message lists the legal names.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    if is_own(name):
        return find_own(name)
    raise UserError(
        f"architecture is {name!r}{did_you_mean(name, NETWORKS)}, but must be one of {', '.join(NETWORKS)}, "
        "or package.module:function for a network of your own"
    )


def read_config(values: Mapping[str, Any], *, own: Collection[str] = ()) -> NetworkConfig:
    """Return the configuration that `NetworkConfig.to_dict` wrote; without an architecture, it is a U-Net's.

    Args:
        own: The functions `package.module:function` that the caller trusts. What a file names beside these is not
            imported.

    Raises:
        UserError: The architecture is unknown or not trusted, or a field is unknown or has an illegal value.
    """
    fields = dict(values)
    name = str(fields.pop("architecture", DEFAULT_ARCHITECTURE))
    if is_own(name) and name not in own:
        raise UserError(
            f"the network is built by {name!r}, and a file does not decide what code is run: "
            f"if you trust that function, name it yourself, as own=[{name!r}] or --network {name}"
        )
    try:
        return find_architecture(name).config(**fields)
    except TypeError as error:
        raise UserError(f"the configuration of a network is not legal: {error}") from error
