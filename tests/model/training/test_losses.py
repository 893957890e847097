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

from model.training.losses import deep_loss, focal_loss, training_loss, tversky_index
from model.training.train_config import TrainConfig


def loss_of(logits: torch.Tensor, masks: torch.Tensor, **options) -> torch.Tensor:
    """Return the loss of a training with these options."""
    return training_loss(logits, masks, TrainConfig(max_epochs=1, **options))


def random_batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and masks of four slices, the first without tumour."""
    generator = torch.Generator().manual_seed(seed)
    masks = (torch.rand(4, 1, 8, 8, generator=generator) < 0.3).float()
    masks[0] = 0
    return torch.randn(4, 1, 8, 8, generator=generator), masks


@pytest.mark.parametrize("seed", range(5))
def test_loss_is_linear_between_bce_and_dice(seed):
    logits, masks = random_batch(seed)
    dice, mixed, bce = (loss_of(logits, masks, bce_weight=weight) for weight in (0.0, 0.25, 1.0))
    torch.testing.assert_close(mixed, 0.25 * bce + 0.75 * dice)
    torch.testing.assert_close(bce, F.binary_cross_entropy_with_logits(logits, masks))


def test_loss_has_the_value_worked_by_hand():
    # Four pixels of probability 1/2, two of them tumour: Dice is (2 * 1 + 1) / (2 + 2 + 1), BCE is ln 2.
    logits, masks = torch.zeros(1, 1, 2, 2), torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    assert loss_of(logits, masks, bce_weight=0.0).item() == pytest.approx(0.4)
    assert loss_of(logits, masks, bce_weight=1.0).item() == pytest.approx(math.log(2))


def test_loss_is_zero_for_a_confident_and_correct_prediction():
    _, masks = random_batch(0)
    assert loss_of(200 * masks - 100, masks, bce_weight=0.5).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("bce_weight", [0.0, 0.5, 1.0])
def test_loss_of_a_batch_without_tumour_pushes_logits_down(bce_weight):
    logits = torch.zeros(2, 1, 8, 8, requires_grad=True)
    loss_of(logits, torch.zeros(2, 1, 8, 8), bce_weight=bce_weight).backward()
    assert logits.grad is not None
    assert (logits.grad > 0).all()
    assert logits.grad.isfinite().all()


def test_loss_is_finite_for_huge_logits():
    logits = torch.full((1, 1, 4, 4), 1e4, requires_grad=True)
    loss = loss_of(logits, torch.zeros(1, 1, 4, 4), bce_weight=0.5)
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_loss_pools_the_batch_before_it_divides():
    # A slice without tumour that is predicted empty changes nothing; alone it would count as perfect.
    logits, masks = random_batch(0)
    with_empty = torch.cat([logits, torch.full((1, 1, 8, 8), -100.0)]), torch.cat([masks, torch.zeros(1, 1, 8, 8)])
    torch.testing.assert_close(loss_of(*with_empty, bce_weight=0.0), loss_of(logits, masks, bce_weight=0.0))


def test_loss_refuses_masks_of_another_shape():
    with pytest.raises(Exception, match="masks"):  # jaxtyping's own error, which it does not export
        loss_of(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 8), bce_weight=0.5)


# --- focal loss ---


@pytest.mark.parametrize("seed", range(3))
def test_focal_loss_with_gamma_zero_is_bce(seed):
    logits, masks = random_batch(seed)
    torch.testing.assert_close(focal_loss(logits, masks, gamma=0.0), F.binary_cross_entropy_with_logits(logits, masks))


@pytest.mark.parametrize(("gamma", "factor"), [(0.5, 0.5**0.5), (2.0, 0.25), (5.0, 1 / 32)])
def test_focal_loss_of_undecided_pixels_is_worked_by_hand(gamma, factor):
    # Every pixel has probability 1/2, so its cross-entropy ln 2 counts (1/2) ** gamma.
    masks = torch.tensor([[[[1.0, 0.0]]]])
    assert focal_loss(torch.zeros(1, 1, 1, 2), masks, gamma=gamma).item() == pytest.approx(factor * math.log(2))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_focal_loss_has_a_finite_gradient_for_huge_logits(gamma, logit):
    logits = torch.full((1, 1, 2, 2), logit, requires_grad=True)
    loss = loss_of(logits, torch.zeros(1, 1, 2, 2), pixel_loss="focal", focal_gamma=gamma, bce_weight=1.0)
    loss.backward()
    assert loss.item() == pytest.approx(max(0.0, logit))
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


# --- Tversky index ---


@pytest.mark.parametrize("seed", range(3))
def test_tversky_loss_with_half_of_each_error_is_dice(seed):
    logits, masks = random_batch(seed)
    assert loss_of(logits, masks, overlap_loss="tversky", tversky_alpha=0.5) == loss_of(logits, masks)


@pytest.mark.parametrize(("alpha", "index"), [(0.0, 1.0), (0.25, 5 / 6), (1.0, 5 / 9)])
def test_tversky_index_of_a_mask_twice_too_large_is_worked_by_hand(alpha, index):
    # Two hits, two false positives, no miss: (4 + 1) / (4 + 4 alpha + 1) with the pixel of smoothing.
    logits = torch.full((1, 1, 2, 2), 100.0)
    masks = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    assert tversky_index(logits, masks, alpha=alpha).tolist() == pytest.approx([index])


def test_tversky_index_with_a_small_alpha_forgives_false_positives_rather_than_misses():
    masks = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
    larger, smaller = torch.tensor([100.0, 100, 100, -100]), torch.tensor([100.0, -100, -100, -100])
    one, other = (tversky_index(logits.view(1, 1, 1, 4), masks, alpha=0.3) for logits in (larger, smaller))
    assert one > other


# --- several resolutions ---


def test_deep_loss_has_weights_that_halve_and_add_up_to_one():
    masks = (torch.arange(64).view(1, 1, 8, 8) % 8 < 4).float()  # its half and quarter are the same picture
    config = TrainConfig(max_epochs=1, bce_weight=1.0)
    logits = [torch.full((1, 1, side, side), value) for side, value in ((8, 1.0), (4, 2.0), (2, -3.0))]
    one, two, three = (
        training_loss(one, masks[..., :: 8 // len(one[0, 0]), :: 8 // len(one[0, 0])], config) for one in logits
    )
    torch.testing.assert_close(deep_loss(logits, masks, config), (4 * one + 2 * two + three) / 7)


def test_deep_loss_of_one_resolution_is_the_loss():
    logits, masks = random_batch(0)
    config = TrainConfig(max_epochs=1)
    assert deep_loss([logits], masks, config) == training_loss(logits, masks, config)


def test_deep_loss_is_zero_where_every_resolution_is_right():
    _, masks = random_batch(0)
    half = F.interpolate(masks, scale_factor=0.5, mode="nearest-exact")
    logits = [200 * one - 100 for one in (masks, half)]
    assert deep_loss(logits, masks, TrainConfig(max_epochs=1)).item() == pytest.approx(0, abs=1e-6)


# --- two workers ---

LOSSES = ({}, {"pixel_loss": "focal", "overlap_loss": "tversky"})


def step(rank: int, world_size: int, options: dict) -> tuple[float, float]:
    """Return the loss of this rank, and the gradient of a one-weight network after the ranks' averaging."""
    torch.manual_seed(0)
    network = torch.nn.Conv2d(1, 1, 1)
    parallel = DistributedDataParallel(network) if world_size > 1 else network
    slices, masks = random_batch(1)
    loss = loss_of(parallel(slices[rank::world_size]), masks[rank::world_size], bce_weight=0.3, **options)
    loss.backward()
    assert network.weight.grad is not None
    return loss.item(), network.weight.grad.item()


def run_rank(rank: int, address: str, results) -> None:
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    results.put([step(rank, 2, options) for options in LOSSES])
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads may still run, and would abort the interpreter's normal exit


@pytest.mark.slow
def test_losses_and_gradients_on_two_workers_are_those_of_one(tmp_path):
    results = torch.multiprocessing.get_context("spawn").SimpleQueue()
    spawn(run_rank, (f"file://{tmp_path}/rendezvous", results), nprocs=2)
    for options, *found in zip(LOSSES, *[results.get() for _ in range(2)], strict=True):
        loss, gradient = step(0, 1, options)
        assert sum(one for one, _ in found) / 2 == pytest.approx(loss, rel=1e-5)
        assert [one for _, one in found] == pytest.approx([gradient] * 2, rel=1e-5)
