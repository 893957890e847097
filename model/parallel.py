"""The process group that a training runs in, if there is one: rank, number of workers, sums over them."""

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model.device import Device


def rank() -> int:
    """Return this process's place in its group; 0 without one."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes of the group; 1 without one."""
    return dist.get_world_size() if dist.is_initialized() else 1


def sum_over_ranks(tensor: Tensor) -> None:
    """Put the sum over all processes into the tensor, on each of them."""
    if world_size() > 1:
        dist.all_reduce(tensor)


def differentiable_sum(tensor: Tensor) -> Tensor:
    """Return the sum over all processes; after `distribute` has averaged gradients, they are those of the sum.

    A process knows the gradient of its own share only, and the average divides it by the number of processes: so that
    many times as much of it goes in. Nothing is exchanged backwards.
    """
    if world_size() == 1:
        return tensor
    total = tensor.detach().clone()
    sum_over_ranks(total)
    return total + world_size() * (tensor - tensor.detach())


def distribute(network: nn.Module, device: Device) -> nn.Module:
    """Return the network with its gradients averaged over all processes; itself, if there is only this one."""
    if world_size() == 1:
        return network
    return DistributedDataParallel(network, device_ids=[device.device.index] if device.device.type == "cuda" else None)
