"""Models of one architecture that are trained side by side in one program, by torch.func, and one that is alone.

All parameters of a model are one row of a matrix. So the models' learning rates are a column beside it, and clipping
and AdamW are a few operations for all of them, however many there are. Each model has its own seed, learning rate,
weight of the losses and dropout; all see the same batches. Batch norm cannot be here: its running statistics are
changed in place, which vmap refuses. Instance and group norm have none.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from data.loaders import train_batches
from model.device import Device
from model.networks import build
from model.training.losses import tversky_index
from model.training.train_config import TrainConfig
from model.unet import UNetConfig
from tests.benchmarks.throughput.own import Steps, in_layout, synchronise
from tests.benchmarks.throughput.workload import Workload

BETAS, EPSILON = (0.9, 0.999), 1e-8
"""Those of torch.optim.AdamW."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """A model beside others, and all that may differ between them."""

    seed: int
    learning_rate: float = 1e-3
    bce_weight: float = 0.5
    dropout: float = 0.1


def make_members(count: int) -> list[Member]:
    """Return models that differ in everything that may differ."""
    return [
        Member(
            seed=number,
            learning_rate=1e-3 * 0.8**number,
            bce_weight=0.5 - 0.03 * number,
            dropout=0.1 + 0.02 * number,
        )
        for number in range(count)
    ]


class Stack:
    """Models that take every step together."""

    def __init__(
        self, network: UNetConfig, members: Sequence[Member], device: Device, *, compile_mode: str | None = None
    ) -> None:
        networks = [device.move(_seeded(network, member)) for member in members]
        parameters, self._buffers = stack_module_state(networks)  # pyright: ignore[reportArgumentType]  # any modules
        self._shapes = {name: stacked.shape[1:] for name, stacked in parameters.items()}
        self._rows = torch.cat([one.detach().flatten(1) for one in parameters.values()], dim=1).requires_grad_()
        self._skeleton = copy.deepcopy(networks[0]).to("meta")
        self._device = device

        def column(field: str) -> Tensor:
            return self._rows.new_tensor([[getattr(member, field)] for member in members])

        self._bce_weights = column("bce_weight")[:, 0]
        self._optimizer = RowAdamW(self._rows, learning_rates=column("learning_rate"))
        self._losses = torch.compile(self._all_losses, mode=compile_mode) if compile_mode else self._all_losses

    def take(self, images: Tensor, masks: Tensor) -> Tensor:
        """Take a step of every model, and return their losses before it."""
        losses = self._losses(self._rows, self._buffers, self._bce_weights, images, masks)
        self._rows.grad = None
        losses.sum().backward()
        self._optimizer.step()
        return losses.detach()

    def _all_losses(
        self, rows: Tensor, buffers: dict[str, Tensor], bce_weights: Tensor, images: Tensor, masks: Tensor
    ) -> Tensor:
        in_dims = (0, 0, 0, None, None)
        return vmap(self._loss, in_dims, randomness="different")(rows, buffers, bce_weights, images, masks)

    def _loss(
        self, row: Tensor, buffers: dict[str, Tensor], bce_weight: Tensor, images: Tensor, masks: Tensor
    ) -> Tensor:
        pieces = row.split([shape.numel() for shape in self._shapes.values()])
        state = {name: piece.view(shape) for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)}
        with self._device.autocast():
            logits = functional_call(self._skeleton, (state, buffers), (images,))
        logits = logits.to(masks.dtype)
        pixels = F.binary_cross_entropy_with_logits(logits, masks)
        overlap = 1 - tversky_index(logits, masks, alpha=0.5).mean()
        return bce_weight * pixels + (1 - bce_weight) * overlap


class RowAdamW:
    """AdamW of a matrix whose every row has its own learning rate and its own clipping of the gradient.

    PyTorch's optimizers know one learning rate for a tensor.
    """

    def __init__(self, rows: Tensor, *, learning_rates: Tensor) -> None:
        config = TrainConfig(max_epochs=1)
        self._rows, self._rates = rows, learning_rates
        self._decay, self._clip_norm = 1 - learning_rates * config.weight_decay, config.clip_norm
        self._mean, self._square = torch.zeros_like(rows), torch.zeros_like(rows)
        self._num_steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """Clip the gradients, and take a step."""
        gradients = self._rows.grad
        assert gradients is not None, "a step follows a backward pass"
        gradients *= (self._clip_norm / (gradients.norm(dim=1, keepdim=True) + 1e-6)).clamp_(max=1)
        self._num_steps += 1
        self._mean.lerp_(gradients, 1 - BETAS[0])
        self._square.mul_(BETAS[1]).addcmul_(gradients, gradients, value=1 - BETAS[1])
        of_mean, of_square = (1 - beta**self._num_steps for beta in BETAS)
        spread = (self._square / of_square).sqrt_().add_(EPSILON)
        self._rows.mul_(self._decay).sub_(self._mean.div(spread).mul_(self._rates / of_mean))


class DropMaps(nn.Module):
    """Drops whole maps, as nn.Dropout2d does, with a probability that is a buffer: so each model can have its own."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share: Tensor
        self.register_buffer("share", torch.tensor(share))

    def forward(self, features: Tensor) -> Tensor:
        kept = torch.rand(features.shape[:2], device=features.device) >= self.share
        return features * (kept / (1 - self.share)).to(features.dtype)[:, :, None, None]


class SideBySide:
    """Some models in one program, on batches that are on the device."""

    def __init__(
        self,
        workload: Workload,
        *,
        num_models: int,
        norm: str,
        layout: torch.memory_format,
        compile_mode: str | None = None,
    ) -> None:
        device = in_layout(layout)
        self._stack = Stack(network_of(workload, norm), make_members(num_models), device, compile_mode=compile_mode)
        self._batches = resident_batches(workload, device)

    def train(self) -> None:
        """Take the steps of a round."""
        for batch in self._batches:
            self._stack.take(*batch)
        synchronise()


class Alone:
    """One model, trained as a search trains it, on batches that are on the device."""

    def __init__(
        self, workload: Workload, *, norm: str, layout: torch.memory_format, compile_mode: str | None = None
    ) -> None:
        device = in_layout(layout)
        config = TrainConfig(max_epochs=1, batch_size=workload.batch_size)
        self._steps = Steps(network_of(workload, norm), config, device, compile_mode=compile_mode)
        self._batches = resident_batches(workload, device)

    def train(self) -> None:
        """Take the steps of a round."""
        for batch in self._batches:
            self._steps.take(*batch)
        synchronise()


def network_of(workload: Workload, norm: str, *, dropout: float = 0.1) -> UNetConfig:
    """Return the network that is trained on a workload."""
    return UNetConfig(in_channels=workload.pack.num_channels, width=workload.width, norm=norm, dropout=dropout)


def resident_batches(workload: Workload, device: Device) -> list[tuple[Tensor, Tensor]]:
    """Return the batches of an epoch without augmentation, on the device."""
    pack = workload.pack
    batches = train_batches(pack, np.arange(pack.num_slices), batch_size=workload.batch_size, seed=0, epoch=0)
    return [(device.put(batch.images), device.put(batch.masks)) for batch in batches]


def _seeded(network: UNetConfig, member: Member) -> nn.Module:
    """Return a model with the weights of its seed, whose dropout a vector of models can have."""
    torch.manual_seed(member.seed)
    built = build(network)
    for module in list(built.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout2d):
                setattr(module, name, DropMaps(member.dropout))
    return built
