"""The process group that a training runs in, if there is one: rank, number of workers, sums over them."""

from collections.abc import Callable

import torch
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


def rows_of_ranks(row: Tensor) -> Tensor:
    """Return what each process has as a row of its own, the same table on all of them."""
    rows = torch.zeros(world_size(), *row.shape, dtype=row.dtype, device=row.device)
    rows[rank()] = row
    sum_over_ranks(rows)
    return rows


class Votes:
    """Asks all processes, at every batch, whether one of them wants something; the answer comes with the next batch.

    So nobody waits for it: until then it has travelled beside the gradients. A process alone has it at once.
    """

    def __init__(self, device: Device) -> None:
        self._device = device.device
        self._answer: Callable[[], bool] | None = None
        """Of the question before."""

    def ask(self, mine: bool) -> bool:
        """Return whether a process wanted it when it was asked before: the same on all of them."""
        if world_size() == 1:
            return mine
        before, self._answer = self._answer, _vote(mine, self._device)
        return before is not None and before()


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


def _vote(mine: bool, device: torch.device) -> Callable[[], bool]:
    """Begin to add up what all processes want; return what waits for the sum."""
    votes = torch.full((1,), float(mine), device=device)
    sent = dist.all_reduce(votes, async_op=True)
    if device.type != "cuda":
        return lambda: sent.wait() and votes.item() > 0
    # On a GPU all this is queued behind the batch before. So the next batch is queued, too, before this is waited for,
    # and the GPU never is.
    sent.wait()
    found = torch.empty(1, pin_memory=True).copy_(votes, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()

    def answer() -> bool:
        arrived.synchronize()
        return found.item() > 0

    return answer
