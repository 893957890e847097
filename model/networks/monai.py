"""The networks of MONAI, in two dimensions (`pip install -e '.[monai]'`). MONAI is imported when one is built.

Our words are used where they mean the same: `depth` is how often the resolution is halved, `width` the number of
features at full resolution.

Reference: Cardoso et al. 2022, arXiv:2211.02701.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

from data.legal import OneOf, Range
from model.networks.architecture import Architecture
from model.networks.foreign import ForeignNetwork, start_at_prior
from model.segmentation_network import HalvingConfig, NetworkConfig

MAX_DYNUNET_FEATURES = 512
"""Where nnU-Net, which DynUNet follows, stops doubling features in two dimensions (doi:10.1038/s41592-020-01008-z)."""

NUM_GROUPS = 8
"""Groups of a group norm; MONAI's own default."""


@dataclass(frozen=True, kw_only=True)
class MonaiUNetConfig(HalvingConfig):
    """The shape of one `monai.networks.nets.UNet`, which halves the resolution by strides, not by pooling.

    Reference: Kerfoot et al. 2019, doi:10.1007/978-3-030-12029-0_40.
    """

    architecture: ClassVar[str] = "monai:UNet"

    width: Annotated[int, Range(at_least=1, at_most=256)] = 16
    """Features after the first halving; doubled at every further one."""

    depth: Annotated[int, Range(at_least=1, at_most=7)] = 4
    """How often the resolution is halved; sides must be divisible by 2 ** depth."""

    dropout: Annotated[float, Range(at_least=0, below=1)] = 0.1
    """Probability with which a whole feature map is dropped, everywhere but in the last layer."""

    norm: Annotated[str, OneOf("instance", "batch")] = "instance"
    """Normalisation: 'instance' or 'batch'."""

    num_res_units: Annotated[int, Range(at_least=0, at_most=4)] = 2
    """Convolutions of each residual block; 0 for one plain convolution. Two as in the paper."""


@dataclass(frozen=True, kw_only=True)
class SegResNetConfig(HalvingConfig):
    """The shape of one `monai.networks.nets.SegResNet`, without its autoencoder.

    Reference: Myronenko 2019, doi:10.1007/978-3-030-11726-9_28, the winner of BraTS 2018.
    """

    architecture: ClassVar[str] = "monai:SegResNet"

    width: Annotated[int, Range(at_least=1, at_most=256)] = 8
    """Features at full resolution; doubled at every halving. MONAI's default; 32 in the paper."""

    depth: Annotated[int, Range(at_least=1, at_most=6)] = 3
    """How often the resolution is halved; sides must be divisible by 2 ** depth. Three as in the paper."""

    dropout: Annotated[float, Range(at_least=0, below=1)] = 0.2
    """Probability with which a feature map of the first convolution is dropped. As in the paper."""

    norm: Annotated[str, OneOf("group", "instance", "batch")] = "group"
    """Normalisation: 'group' (the paper's; in eight groups, or as many as divide the width), 'instance' or 'batch'."""


@dataclass(frozen=True, kw_only=True)
class SwinUNETRConfig(NetworkConfig):
    """The shape of one `monai.networks.nets.SwinUNETR`: a transformer with shifted windows, and a U-Net's decoder.

    Reference: Hatamizadeh et al. 2022, doi:10.1007/978-3-031-08999-2_22.
    """

    architecture: ClassVar[str] = "monai:SwinUNETR"

    width: Annotated[int, OneOf(12, 24, 36, 48, 60, 72, 84, 96)] = 24
    """Features at full resolution, a multiple of twelve because there are up to 24 heads. MONAI's default."""

    dropout: Annotated[float, Range(at_least=0, below=1)] = 0.0
    """Probability with which a feature of the transformer is dropped. MONAI's default."""

    @property
    def network_side_multiple(self) -> int:
        """The number that a slice's sides must be divisible by, in pixels."""
        return 32

    @property
    def network_min_side(self) -> int:
        """The shortest side that the network can be trained on, in pixels: two pixels at the bottom."""
        return 64

    @property
    def fixed_sides(self) -> bool:
        """Whether an export takes slices of one size only. MONAI computes windows from the sides as plain numbers."""
        return True


@dataclass(frozen=True, kw_only=True)
class DynUNetConfig(HalvingConfig):
    """The shape of one `monai.networks.nets.DynUNet`, which is nnU-Net's, without deep supervision.

    Reference: Isensee et al. 2021, doi:10.1038/s41592-020-01008-z.
    """

    architecture: ClassVar[str] = "monai:DynUNet"

    width: Annotated[int, Range(at_least=1, at_most=256)] = 32
    """Features at full resolution; doubled at every halving, up to 512. As in nnU-Net."""

    depth: Annotated[int, Range(at_least=2, at_most=7)] = 4
    """How often the resolution is halved; sides must be divisible by 2 ** depth."""

    dropout: Annotated[float, Range(at_least=0, below=1)] = 0.0
    """Probability with which a whole feature map is dropped. None as in nnU-Net."""

    norm: Annotated[str, OneOf("instance", "batch")] = "instance"
    """Normalisation: 'instance' or 'batch'."""

    residual: bool = False
    """Whether the blocks of the encoder add their input to their output."""


def _unet(config: MonaiUNetConfig) -> ForeignNetwork:
    from monai.networks.nets.unet import UNet  # imported late, because MONAI takes seconds and is not always installed

    network = UNet(
        spatial_dims=2,
        in_channels=config.in_channels,
        out_channels=config.num_regions,
        channels=[config.width * 2**level for level in range(config.depth + 1)],
        strides=[2] * config.depth,
        num_res_units=config.num_res_units,
        norm=_norm(config.norm),
        dropout=config.dropout,
    )
    start_at_prior(network.get_submodule("model.2.1.conv.unit0.conv" if config.num_res_units else "model.2.conv"))
    return ForeignNetwork(config, network)


def _segresnet(config: SegResNetConfig) -> ForeignNetwork:
    from monai.networks.nets.segresnet import SegResNet

    network = SegResNet(
        spatial_dims=2,
        init_filters=config.width,
        in_channels=config.in_channels,
        out_channels=config.num_regions,
        dropout_prob=config.dropout,
        norm=_norm(config.norm, width=config.width),
        blocks_down=(1, *[2] * (config.depth - 1), 4),
        blocks_up=(1,) * config.depth,
    )
    start_at_prior(network.get_submodule("conv_final.2.conv"))
    return ForeignNetwork(config, network)


def _swin_unetr(config: SwinUNETRConfig) -> ForeignNetwork:
    from monai.networks.nets.swin_unetr import SwinUNETR

    network = SwinUNETR(
        spatial_dims=2,
        in_channels=config.in_channels,
        out_channels=config.num_regions,
        feature_size=config.width,
        drop_rate=config.dropout,
    )
    start_at_prior(network.get_submodule("out.conv.conv"))
    return ForeignNetwork(config, network)


def _dynunet(config: DynUNetConfig) -> ForeignNetwork:
    from monai.networks.nets.dynunet import DynUNet

    network = DynUNet(
        spatial_dims=2,
        in_channels=config.in_channels,
        out_channels=config.num_regions,
        kernel_size=[3] * (config.depth + 1),
        strides=[1, *[2] * config.depth],
        upsample_kernel_size=[2] * config.depth,
        filters=[min(config.width * 2**level, MAX_DYNUNET_FEATURES) for level in range(config.depth + 1)],
        dropout=config.dropout,
        norm_name=_norm(config.norm),
        res_block=config.residual,
    )
    # MONAI drops the logits as well, and a dropped logit says that a pixel is tumour as likely as not.
    head = network.get_submodule("output_block.conv.conv")
    setattr(network.output_block, "conv", head)  # noqa: B010  # MONAI annotates a class that is not needed
    start_at_prior(head)
    return ForeignNetwork(config, network)


def _norm(name: str, width: int = 0) -> tuple[str, dict[str, int | bool]]:
    """Return a normalisation in MONAI's words; instance norm with weights, as ours has."""
    arguments = {"instance": {"affine": True}, "batch": {}, "group": {"num_groups": math.gcd(NUM_GROUPS, width)}}
    return name, arguments[name]


_architecture = partial(Architecture, package="monai", extra="monai")

MONAI_NETWORKS = {
    MonaiUNetConfig.architecture: _architecture(config=MonaiUNetConfig, network=_unet, title="MONAI UNet"),
    SegResNetConfig.architecture: _architecture(config=SegResNetConfig, network=_segresnet, title="SegResNet"),
    SwinUNETRConfig.architecture: _architecture(config=SwinUNETRConfig, network=_swin_unetr, title="Swin UNETR"),
    DynUNetConfig.architecture: _architecture(config=DynUNetConfig, network=_dynunet, title="DynUNet"),
}
