"""Several trials on one GPU: each keeps to its share of the memory, and two workers of a trial may share a GPU."""

import os
from pathlib import Path

import pytest
import ray
import torch
from torch import distributed
from torch.multiprocessing.spawn import spawn

from model.device import find_device
from model.memory import CONTEXT_BYTES, limit_gpu_memory
from model.training.parallel import distribute, sum_over_ranks
from model.unet import UNet, UNetConfig
from search.cluster.group.worker_group import GroupConfig, backend
from search.storage.storage_path import local_path

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")


class FakeCuda:
    """A GPU of 24 GB, and the share of it that was set."""

    def __init__(self, *, num_gpus: int = 1) -> None:
        self.num_gpus = num_gpus
        self.fraction: float | None = None

    def is_available(self) -> bool:
        return self.num_gpus > 0

    def mem_get_info(self) -> tuple[int, int]:
        return 20_000_000_000, 24_000_000_000

    def set_per_process_memory_fraction(self, fraction: float) -> None:
        self.fraction = fraction


def test_four_trials_and_their_contexts_fit_into_a_gpu():
    cuda = FakeCuda()
    limit_gpu_memory(0.25, cuda=cuda)
    assert cuda.fraction == pytest.approx(0.25 - CONTEXT_BYTES / 24e9)
    assert cuda.fraction is not None
    assert 4 * (cuda.fraction * 24e9 + CONTEXT_BYTES) == pytest.approx(24e9)


def test_a_tiny_share_leaves_more_than_cudas_own_context():
    cuda = FakeCuda()
    limit_gpu_memory(0.01, cuda=cuda)
    assert cuda.fraction == 0.005


@pytest.mark.parametrize(("share", "num_gpus"), [(0.0, 1), (1.0, 1), (2.0, 2), (0.5, 0)])
def test_a_whole_gpu_or_none_has_no_limit(share, num_gpus):
    cuda = FakeCuda(num_gpus=num_gpus)
    limit_gpu_memory(share, cuda=cuda)
    assert cuda.fraction is None


@pytest.mark.parametrize(
    ("num_workers", "gpus", "expected"), [(2, 0.5, "gloo"), (1, 0.5, None), (2, 1.0, None), (2, 0.0, None)]
)
def test_workers_that_may_share_a_gpu_talk_by_gloo(num_workers, gpus, expected):
    resources = {"CPU": 1.0} | ({"GPU": gpus} if gpus else {})
    group = GroupConfig(
        num_workers=num_workers,
        worker_resources=resources,
        packs=(ray.ObjectRef.nil(), ray.ObjectRef.nil()),
        storage="",
        checkpoints=local_path(Path("none")),
    )
    assert backend(group) == expected


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
