"""The configurations of the networks of segmentation_models_pytorch: a class for each of its decoders.

Our words are used where they mean the same: `depth` is how often the resolution is halved, `width` the number of
features of the decoder.

Reference: Iakubovskii 2019, https://github.com/qubvel-org/segmentation_models.pytorch.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from data.legal import Range
from model.segmentation_network import HalvingConfig


@dataclass(frozen=True, kw_only=True)
class SmpConfig(HalvingConfig):
    """The shape of one network of the package. The subclasses are its decoders."""

    encoder: str = "resnet34"
    """The encoder, by the package's name for it, or `tu-` and timm's name. The package's default."""

    depth: Annotated[int, Range(at_least=3, at_most=5)] = 5
    """How often the encoder halves the resolution; sides must be divisible by 2 ** depth. The package's default."""

    pretrained: str = ""
    """Where the encoder's weights come from at the start of training: '' for random ones, 'imagenet' for those of
    Hugging Face's hub, or a file of them (safetensors, or a state_dict that torch saved)."""

    def decoder(self) -> dict[str, Any]:
        """Return what the package's constructor takes beside what all of its networks have."""
        return {}


class _Doubling(SmpConfig):
    """A decoder like a U-Net's, whose features halve at every doubling of the resolution."""

    width: int

    def decoder(self) -> dict[str, Any]:
        return {"decoder_channels": [self.width * 2**level for level in reversed(range(self.depth))]}


@dataclass(frozen=True, kw_only=True)
class SmpUnetConfig(_Doubling):
    """A U-Net on an encoder.

    Reference: Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28.
    """

    architecture: ClassVar[str] = "smp:Unet"

    width: Annotated[int, Range(at_least=1, at_most=256)] = 16
    """Features of the decoder at full resolution; doubled at every halving. The package's default."""


@dataclass(frozen=True, kw_only=True)
class SmpUnetPlusPlusConfig(_Doubling):
    """A U-Net with nested, dense skip connections.

    Reference: Zhou et al. 2018, doi:10.1007/978-3-030-00889-5_1.
    """

    architecture: ClassVar[str] = "smp:UnetPlusPlus"

    width: Annotated[int, Range(at_least=1, at_most=256)] = 16
    """Features of the decoder at full resolution; doubled at every halving. The package's default."""


@dataclass(frozen=True, kw_only=True)
class SmpMAnetConfig(_Doubling):
    """A U-Net with attention between positions and between levels.

    Reference: Fan et al. 2020, doi:10.1109/ACCESS.2020.3025372.
    """

    architecture: ClassVar[str] = "smp:MAnet"

    width: Annotated[int, Range(at_least=1, at_most=256)] = 16
    """Features of the decoder at full resolution; doubled at every halving. The package's default."""


@dataclass(frozen=True, kw_only=True)
class SmpLinknetConfig(SmpConfig):
    """A light decoder that adds the encoder's features instead of joining them.

    Reference: Chaurasia and Culurciello 2017, arXiv:1707.03718.
    """

    architecture: ClassVar[str] = "smp:Linknet"


@dataclass(frozen=True, kw_only=True)
class SmpFPNConfig(SmpConfig):
    """A pyramid of features, each level of which is segmented.

    Reference: Kirillov et al. 2017, http://presentations.cocodataset.org/COCO17-Stuff-FAIR.pdf.
    """

    architecture: ClassVar[str] = "smp:FPN"

    width: Annotated[int, Range(at_least=2, at_most=1024)] = 256
    """Features of every level of the pyramid; half as many segment it. The package's default."""

    dropout: Annotated[float, Range(at_least=0, below=1)] = 0.2
    """Probability with which a feature map is dropped before the head. The package's default."""

    def decoder(self) -> dict[str, Any]:
        return {
            "decoder_pyramid_channels": self.width,
            "decoder_segmentation_channels": self.width // 2,
            "decoder_dropout": self.dropout,
            "upsampling": 2 ** (self.depth - 3),  # the package's default is right for depth 5 alone
        }


@dataclass(frozen=True, kw_only=True)
class SmpPSPNetConfig(SmpConfig):
    """Features pooled at several scales.

    Reference: Zhao et al. 2017, doi:10.1109/CVPR.2017.660.
    """

    architecture: ClassVar[str] = "smp:PSPNet"

    depth: Annotated[int, Range(at_least=3, at_most=5)] = 3
    """How often the encoder halves the resolution; sides must be divisible by 2 ** depth. The package's default."""

    width: Annotated[int, Range(at_least=1, at_most=1024)] = 512
    """Features of the pooled pyramid. The package's default."""

    dropout: Annotated[float, Range(at_least=0, below=1)] = 0.2
    """Probability with which a feature map is dropped before the head. The package's default."""

    @property
    def fixed_sides(self) -> bool:
        """Whether an export takes slices of one size only. The exporter refuses to pool sides that are symbols."""
        return True

    def decoder(self) -> dict[str, Any]:
        return {"psp_out_channels": self.width, "psp_dropout": self.dropout, "upsampling": 2**self.depth}


@dataclass(frozen=True, kw_only=True)
class _DeepLabConfig(SmpConfig):
    width: Annotated[int, Range(at_least=1, at_most=1024)] = 256
    """Features of each dilated convolution of the decoder. The package's default."""

    dropout: Annotated[float, Range(at_least=0, below=1)] = 0.5
    """Probability with which a feature is dropped behind the dilated convolutions. The package's default."""

    def decoder(self) -> dict[str, Any]:
        return {"decoder_channels": self.width, "decoder_aspp_dropout": self.dropout}


@dataclass(frozen=True, kw_only=True)
class SmpDeepLabV3Config(_DeepLabConfig):
    """Dilated convolutions at several rates.

    Reference: Chen et al. 2017, arXiv:1706.05587.
    """

    architecture: ClassVar[str] = "smp:DeepLabV3"


@dataclass(frozen=True, kw_only=True)
class SmpDeepLabV3PlusConfig(_DeepLabConfig):
    """Dilated convolutions at several rates, joined with features of a higher resolution.

    Reference: Chen et al. 2018, doi:10.1007/978-3-030-01234-2_49.
    """

    architecture: ClassVar[str] = "smp:DeepLabV3Plus"


@dataclass(frozen=True, kw_only=True)
class SmpPANConfig(SmpConfig):
    """A pyramid of attention.

    Reference: Li et al. 2018, arXiv:1805.10180.
    """

    architecture: ClassVar[str] = "smp:PAN"

    width: Annotated[int, Range(at_least=1, at_most=1024)] = 32
    """Features of the decoder. The package's default."""

    @property
    def network_min_side(self) -> int:
        """The shortest side that the network can be trained on, in pixels: the decoder halves the encoder's last
        features, which have a 16th of the resolution, three times more."""
        return 8 * min(16, self.network_side_multiple)

    def decoder(self) -> dict[str, Any]:
        return {"decoder_channels": self.width}


@dataclass(frozen=True, kw_only=True)
class SmpUPerNetConfig(SmpConfig):
    """A pyramid of features on pooled ones.

    Reference: Xiao et al. 2018, doi:10.1007/978-3-030-01228-1_26.
    """

    architecture: ClassVar[str] = "smp:UPerNet"

    width: Annotated[int, Range(at_least=1, at_most=1024)] = 256
    """Features of the decoder. The package's default."""

    @property
    def fixed_sides(self) -> bool:
        """Whether an export takes slices of one size only. The exporter refuses to pool sides that are symbols."""
        return True

    def decoder(self) -> dict[str, Any]:
        return {"decoder_channels": self.width}


@dataclass(frozen=True, kw_only=True)
class SmpSegformerConfig(SmpConfig):
    """A light decoder that was made for transformers (the encoders `mit_b0` to `mit_b5`).

    Reference: Xie et al. 2021, arXiv:2105.15203.
    """

    architecture: ClassVar[str] = "smp:Segformer"

    width: Annotated[int, Range(at_least=1, at_most=1024)] = 256
    """Features of the decoder. The package's default."""

    def decoder(self) -> dict[str, Any]:
        return {"decoder_segmentation_channels": self.width}
