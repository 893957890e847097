"""The settings of one training."""

from dataclasses import dataclass
from typing import Annotated

from data.augmentation.augment import MAX_STRENGTH, AugmentConfig
from data.legal import OneOf, Range, When, check_legal
from model.device import PRECISIONS


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How one network is trained."""

    max_epochs: Annotated[int, Range(at_least=1)]
    """Number of epochs of the whole schedule."""

    optimizer: Annotated[str, OneOf("adamw", "adam", "sgd", "radam")] = "adamw"
    """'adamw' (doi:10.48550/arXiv.1711.05101), 'adam' (arXiv:1412.6980), 'sgd' with Nesterov's momentum, which nnU-Net
    uses, or 'radam' (arXiv:1908.03265)."""

    learning_rate: Annotated[float, Range(above=0)] = 1e-3
    """Peak learning rate. AdamW's usual one; nnU-Net takes 1e-2 with 'sgd'."""

    momentum: Annotated[float, Range(above=0, below=1), When(optimizer="sgd")] = 0.99
    """Nesterov's momentum of 'sgd'; nnU-Net's value."""

    weight_decay: Annotated[float, Range(at_least=0)] = 1e-2
    """Weight decay: decoupled from the gradient in 'adamw' and 'radam', added to it in 'adam' and 'sgd'. PyTorch's
    default of AdamW; nnU-Net takes 3e-5 with 'sgd'."""

    schedule: Annotated[str, OneOf("cosine", "poly", "constant")] = "cosine"
    """How the learning rate goes on after the warm-up, t being the share of the steps since then: 'cosine' falls to
    zero as (1 + cos(pi t)) / 2 (arXiv:1608.03983), 'poly' as (1 - t) ** 0.9 (nnU-Net), and 'constant' stays."""

    warmup_fraction: Annotated[float, Range(at_least=0, at_most=1)] = 0.05
    """Share of all steps in which the learning rate rises linearly to its peak, in every schedule."""

    batch_size: Annotated[int, Range(at_least=1, at_most=4096)] = 16
    """Number of slices in a global batch, which is divided among the workers."""

    bce_weight: Annotated[float, Range(at_least=0, at_most=1)] = 0.5
    """Weight of the loss over pixels, from 0 to 1; the rest is the weight of the loss over regions' overlap."""

    pixel_loss: Annotated[str, OneOf("bce", "focal")] = "bce"
    """The loss over pixels: binary cross-entropy, or the focal loss, in which easy pixels count less. It has an effect
    where `bce_weight` is above 0."""

    focal_gamma: Annotated[float, Range(at_least=0, at_most=5), When(pixel_loss="focal")] = 2.0
    """How much less easy pixels count in the focal loss; 0 is binary cross-entropy. Lin et al. tried 0 to 5 and found 2
    best."""

    overlap_loss: Annotated[str, OneOf("dice", "tversky")] = "dice"
    """The loss over overlap: Dice, or the Tversky index, which weighs the two kinds of errors. It has an effect where
    `bce_weight` is below 1."""

    tversky_alpha: Annotated[float, Range(at_least=0, at_most=1), When(overlap_loss="tversky")] = 0.3
    """Weight of false positives in the Tversky index; 1 minus it is that of false negatives, and 0.5 is Dice. Salehi et
    al. found 0.3 best, which finds more of small lesions."""

    augment: Annotated[float, Range(at_least=0, at_most=MAX_STRENGTH)] = 1.0
    """Strength of augmentation: 0 for none, 1 for the usual one, 2 for twice that."""

    augment_geometry: Annotated[float, Range(at_least=0, at_most=MAX_STRENGTH)] = 1.0
    """Factor on `augment` for rotation, shift and scale; 0 leaves them out, and mirroring, which has no strength."""

    augment_elastic: Annotated[float, Range(at_least=0, at_most=MAX_STRENGTH)] = 1.0
    """Factor on `augment` for elastic deformation; 0 leaves it out."""

    augment_intensity: Annotated[float, Range(at_least=0, at_most=MAX_STRENGTH)] = 1.0
    """Factor on `augment` for gamma, brightness and contrast; 0 leaves them out."""

    augment_noise: Annotated[float, Range(at_least=0, at_most=MAX_STRENGTH)] = 1.0
    """Factor on `augment` for Gaussian noise; 0 leaves it out."""

    clip_norm: Annotated[float, Range(above=0)] = 1.0
    """Largest norm of the whole gradient. Instance norm and Dice sometimes give far larger ones."""

    patience: Annotated[int, Range(at_least=0, at_most=10_000)] = 0
    """Number of epochs without a better validation Dice after which training stops early; 0 for never."""

    precision: Annotated[str, OneOf("auto", *PRECISIONS)] = "auto"
    """'float32', 'bf16', 'fp16', or 'auto': the fastest that the device has units for."""

    seed: int = 0
    """Seed of the weights, the order of slices, augmentation and dropout."""

    measure_latency: bool = False
    """Whether the metrics include the network's `latency_ms`, which is measured once, before the first epoch."""

    loader_processes: Annotated[int, Range(at_least=0)] = 0
    """Number of processes that augment slices; with 0, a thread does, which is enough for a CPU
    (tests/benchmarks/LOG.md)."""

    def __post_init__(self) -> None:
        check_legal(self)

    @property
    def augmentation(self) -> AugmentConfig:
        """How strongly training slices are changed at random."""
        return AugmentConfig(
            strength=self.augment,
            geometry=self.augment_geometry,
            elastic=self.augment_elastic,
            intensity=self.augment_intensity,
            noise=self.augment_noise,
        )
