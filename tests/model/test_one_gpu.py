"""Several processes on one GPU: each keeps to its share of the memory, and two workers of a training may share it.

Nothing but pytest and torch is needed, so tests/benchmarks/gpu.py can run this where little is installed.
"""

import os

import pytest
import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

import tests.benchmarks.plain_checkout  # noqa: F401  (before the program)
from model.device import find_device
from model.memory import limit_gpu_memory
from model.training.parallel import distribute, sum_over_ranks
from model.unet import UNet, UNetConfig

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


def _take_more_than_a_tenth(rank: int) -> None:
    limit_gpu_memory(0.1)
    _, total = torch.cuda.mem_get_info()
    held = torch.empty(int(0.05 * total), dtype=torch.uint8, device="cuda")
    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(int(0.06 * total), dtype=torch.uint8, device="cuda")
    assert held.numel() == int(0.05 * total)
    free, _ = torch.cuda.mem_get_info()
    assert free > 0.8 * total, "there was no room: that says nothing of a limit"


@pytest.mark.gpu
@on_a_gpu
def test_a_trial_that_wants_more_than_its_share_fails_alone():
    spawn(_take_more_than_a_tenth, nprocs=1)  # raises what the process raised


def _train_a_step_on_the_same_gpu(rank: int, address: str) -> None:
    distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    torch.manual_seed(0)
    device = find_device("float32")
    network = UNet(UNetConfig(depth=2, width=2)).to(device.device)
    images = torch.full((1, 3, 16, 16), float(rank), device=device.device)
    both = distribute(network, device)
    both(images).square().mean().backward()
    parameters = list(network.parameters())
    gradients = torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None])
    summed = gradients.clone()
    sum_over_ranks(summed)
    torch.testing.assert_close(summed, 2 * gradients)
    assert gradients.abs().max() > 0
    distributed.barrier()
    distributed.destroy_process_group()
    os._exit(0)  # gloo's threads are not always gone yet, and the interpreter's own end would abort over them


@pytest.mark.gpu
@on_a_gpu
def test_two_workers_on_one_gpu_average_their_gradients(tmp_path):
    spawn(_train_a_step_on_the_same_gpu, (f"file://{tmp_path}/rendezvous",), nprocs=2)
