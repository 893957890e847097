"""The loss at both ends of its weight, worked by hand, with empty masks, and on two workers as on one."""

import math
import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
import torch.nn.functional as F
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from model.training.losses import bce_dice_loss


def random_batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and masks of four slices, the first without tumour."""
    generator = torch.Generator().manual_seed(seed)
    masks = (torch.rand(4, 1, 8, 8, generator=generator) < 0.3).float()
    masks[0] = 0
    return torch.randn(4, 1, 8, 8, generator=generator), masks


@pytest.mark.parametrize("seed", range(5))
def test_loss_is_linear_between_bce_and_dice(seed):
    logits, masks = random_batch(seed)
    dice, mixed, bce = (bce_dice_loss(logits, masks, bce_weight=weight) for weight in (0.0, 0.25, 1.0))
    torch.testing.assert_close(mixed, 0.25 * bce + 0.75 * dice)
    torch.testing.assert_close(bce, F.binary_cross_entropy_with_logits(logits, masks))


def test_loss_has_the_value_worked_by_hand():
    # Four pixels of probability 1/2, two of them tumour: Dice is (2 * 1 + 1) / (2 + 2 + 1), BCE is ln 2.
    logits, masks = torch.zeros(1, 1, 2, 2), torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    assert bce_dice_loss(logits, masks, bce_weight=0.0).item() == pytest.approx(0.4)
    assert bce_dice_loss(logits, masks, bce_weight=1.0).item() == pytest.approx(math.log(2))


def test_loss_is_zero_for_a_confident_and_correct_prediction():
    _, masks = random_batch(0)
    assert bce_dice_loss(200 * masks - 100, masks, bce_weight=0.5).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("bce_weight", [0.0, 0.5, 1.0])
def test_loss_of_a_batch_without_tumour_pushes_logits_down(bce_weight):
    logits = torch.zeros(2, 1, 8, 8, requires_grad=True)
    bce_dice_loss(logits, torch.zeros(2, 1, 8, 8), bce_weight=bce_weight).backward()
    assert logits.grad is not None
    assert (logits.grad > 0).all()
    assert logits.grad.isfinite().all()


def test_loss_is_finite_for_huge_logits():
    logits = torch.full((1, 1, 4, 4), 1e4, requires_grad=True)
    loss = bce_dice_loss(logits, torch.zeros(1, 1, 4, 4), bce_weight=0.5)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_loss_pools_the_batch_before_it_divides():
    # A slice without tumour that is predicted empty changes nothing; alone it would count as perfect.
    logits, masks = random_batch(0)
    with_empty = torch.cat([logits, torch.full((1, 1, 8, 8), -100.0)]), torch.cat([masks, torch.zeros(1, 1, 8, 8)])
    torch.testing.assert_close(bce_dice_loss(*with_empty, bce_weight=0.0), bce_dice_loss(logits, masks, bce_weight=0.0))


def test_loss_refuses_masks_of_another_shape():
    with pytest.raises(Exception, match="masks"):  # jaxtyping's own error, which it does not export
        bce_dice_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 8), bce_weight=0.5)


def step(rank: int, world_size: int) -> tuple[float, torch.Tensor]:
    """Return the loss of this rank, and the gradient of a one-weight network after the ranks' averaging."""
    torch.manual_seed(0)
    network = torch.nn.Conv2d(1, 1, 1)
    parallel = DistributedDataParallel(network) if world_size > 1 else network
    slices, masks = random_batch(1)
    loss = bce_dice_loss(parallel(slices[rank::world_size]), masks[rank::world_size], bce_weight=0.3)
    loss.backward()
    assert network.weight.grad is not None
    return loss.item(), network.weight.grad


def run_rank(rank: int, address: str, results) -> None:
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    loss, gradient = step(rank, 2)
    results.put((loss, gradient.item()))
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads may still run, and would abort the interpreter's normal exit


def test_loss_and_gradient_on_two_workers_are_those_of_one(tmp_path):
    results = torch.multiprocessing.get_context("spawn").SimpleQueue()
    spawn(run_rank, (f"file://{tmp_path}/rendezvous", results), nprocs=2)
    losses, gradients = zip(*[results.get() for _ in range(2)], strict=True)
    loss, gradient = step(0, 1)
    assert sum(losses) / 2 == pytest.approx(loss, rel=1e-5)
    assert gradients == pytest.approx([gradient.item()] * 2, rel=1e-5)
