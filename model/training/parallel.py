"""The process group that a training runs in, if any: this process's rank, the number of processes, sums over them."""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model.device import Device

COMMON_PRECISIONS = ("float32", "fp16", "bf16")
"""All precisions. Where one machine of a group lacks a precision, all of its machines use an earlier one."""


def rank() -> int:
    """Return this process's rank in its group; 0 without a group."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes in the group; 1 without a group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def sum_over_ranks(tensor: Tensor) -> None:
    """Replace the tensor, in every process, by its sum over all processes."""
    if world_size() > 1:
        dist.all_reduce(tensor)


def gather_rows(row: Tensor) -> Tensor:
    """Return a tensor with the row of each process, by rank; it is the same in all processes."""
    rows = torch.zeros(world_size(), *row.shape, dtype=row.dtype, device=row.device)
    rows[rank()] = row
    sum_over_ranks(rows)
    return rows


def at_common_precision(device: Device) -> Device:
    """Return the device at a precision that the devices of all processes can have, the same in all of them.

    With `auto`, each finds the fastest of its own machine. Gradients are scaled in fp16 alone, so workers that differed
    would average gradients of different scales, and then train different networks.
    """
    index = COMMON_PRECISIONS.index(device.precision)
    found = gather_rows(torch.tensor([index], device=device.device))
    return replace(device, precision=COMMON_PRECISIONS[int(found.min())])


class Votes:
    """A vote of all processes at every batch; the outcome is yes if any process votes yes.

    The outcome is known one batch later, so that no process has to wait: the votes are exchanged along with the
    gradients. A single process gets its own vote back at once.
    """

    def __init__(self, device: Device) -> None:
        self._device = device.device
        self._previous: Callable[[], bool] | None = None
        """A function that returns the outcome of the previous vote."""

    def ask(self, mine: bool) -> bool:
        """Cast this process's vote, and return whether any process voted yes at the previous batch."""
        if world_size() == 1:
            return mine
        previous, self._previous = self._previous, _vote(mine, self._device)
        return previous is not None and previous()


def differentiable_sum(tensor: Tensor) -> Tensor:
    """Return the sum over all processes; its gradients are right once `distribute` has averaged them.

    A process knows only the gradient of its own term, and averaging divides it by the number of processes, so it is
    multiplied by that number here. The backward pass needs no communication.
    """
    if world_size() == 1:
        return tensor
    total = tensor.detach().clone()
    sum_over_ranks(total)
    return total + world_size() * (tensor - tensor.detach())


def distribute(network: nn.Module, device: Device) -> nn.Module:
    """Return the network with gradients averaged over all processes; the network itself if there is only one."""
    if world_size() == 1:
        return network
    return DistributedDataParallel(network, device_ids=[device.device.index] if device.device.type == "cuda" else None)


def _vote(mine: bool, device: torch.device) -> Callable[[], bool]:
    """Start to add up the votes of all processes; return a function that waits for the sum."""
    votes = torch.full((1,), float(mine), device=device)
    pending = dist.all_reduce(votes, async_op=True)
    assert pending is not None, "this process belongs to the group"
    if device.type != "cuda":
        return lambda: pending.wait() and votes.item() > 0
    # On a GPU all of this is queued behind the previous batch, and the next batch is queued before anything waits for
    # the answer. So the GPU never idles.
    pending.wait()
    on_host = torch.empty(1, pin_memory=True).copy_(votes, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()

    def answer() -> bool:
        arrived.synchronize()
        return on_host.item() > 0

    return answer
