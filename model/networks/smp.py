"""The networks of segmentation_models_pytorch (`pip install -e '.[smp]'`), which is imported when one is built.

Each is an encoder made for photographs, by name, with a decoder.

Reference: Iakubovskii 2019, https://github.com/qubvel-org/segmentation_models.pytorch.
"""

from functools import partial

import torch

from data.errors import UserError
from model.networks.architecture import Architecture
from model.networks.foreign import ForeignNetwork, start_at_prior
from model.networks.smp_config import (
    SmpConfig,
    SmpDeepLabV3Config,
    SmpDeepLabV3PlusConfig,
    SmpFPNConfig,
    SmpLinknetConfig,
    SmpMAnetConfig,
    SmpPANConfig,
    SmpPSPNetConfig,
    SmpSegformerConfig,
    SmpUnetConfig,
    SmpUnetPlusPlusConfig,
    SmpUPerNetConfig,
)
from model.networks.smp_encoder import check_encoder, import_smp, start_encoder


def _build(config: SmpConfig) -> ForeignNetwork:
    name = config.architecture.removeprefix("smp:")
    check_encoder(config.encoder)
    try:
        network = getattr(import_smp(), name)(
            encoder_name=config.encoder,
            encoder_depth=config.depth,
            encoder_weights=None,
            in_channels=config.in_channels,
            classes=config.num_regions,
            **config.decoder(),
        )
    except Exception as error:  # the package and timm raise many classes for encoders that do not suit a decoder
        if torch.get_default_device().type == "meta":  # some compute with values that are not there (model/weights.py)
            raise
        raise UserError(
            f"{config.architecture} refuses the encoder {config.encoder} with depth {config.depth} "
            f"({type(error).__name__}: {error}); choose another encoder, or depth 5"
        ) from error
    start_at_prior(network.segmentation_head[0])
    return ForeignNetwork(config, network)


def _start(network: ForeignNetwork, config: SmpConfig) -> None:
    if config.pretrained:
        start_encoder(
            network.get_submodule("network.encoder"), name=config.encoder, depth=config.depth, source=config.pretrained
        )


_architecture = partial(Architecture, network=_build, start=_start, package="segmentation_models_pytorch", extra="smp")

SMP_NETWORKS = {
    config.architecture: _architecture(config=config, title=config.architecture.removeprefix("smp:"))
    for config in (
        SmpUnetConfig,
        SmpUnetPlusPlusConfig,
        SmpMAnetConfig,
        SmpLinknetConfig,
        SmpFPNConfig,
        SmpPSPNetConfig,
        SmpDeepLabV3Config,
        SmpDeepLabV3PlusConfig,
        SmpPANConfig,
        SmpUPerNetConfig,
        SmpSegformerConfig,
    )
}
"""Its DPT is left out: it takes vision transformers alone, which are made for one size of image."""
