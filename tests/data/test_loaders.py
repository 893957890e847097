"""Loaders: balanced, the same for any number of workers, and without a thread left behind."""

import multiprocessing
import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from data.augmentation.augment import AugmentConfig, build_augment
from data.loaders import epoch_slices, eval_batches, num_train_batches, train_batches
from data.preprocess import Preprocessing
from model.training.loader_processes import train_loader
from tests.support.fakes import small_pack

TUMOUR = [True] * 10 + [False] * 25


def all_slices(pack):
    return np.arange(pack.num_slices)


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


@pytest.mark.parametrize("seed", range(10))
def test_epoch_slices_are_every_tumour_slice_and_as_many_empty_ones(seed):
    pack = small_pack(TUMOUR)
    order = epoch_slices(pack, all_slices(pack), seed=seed, epoch=0)
    assert len(set(order.tolist())) == len(order) == 20
    assert set(range(10)) <= set(order.tolist())


def test_epoch_slices_are_fresh_each_epoch_and_repeat_with_the_seed():
    pack = small_pack(TUMOUR)
    orders = [tuple(epoch_slices(pack, all_slices(pack), seed=1, epoch=epoch)) for epoch in (0, 1, 0)]
    assert orders[0] == orders[2]
    assert set(orders[0]) != set(orders[1]), "another sample of the empty slices"


@pytest.mark.parametrize(("tumour", "expected"), [([True] * 5 + [False] * 2, 7), ([False] * 6, 6), ([True] * 3, 3)])
def test_epoch_slices_are_all_slices_if_one_kind_is_rare(tumour, expected):
    pack = small_pack(tumour)
    assert sorted(epoch_slices(pack, all_slices(pack), seed=0, epoch=0)) == list(range(expected))


def test_epoch_slices_stay_among_the_given_slices():
    pack = small_pack(TUMOUR)
    assert set(epoch_slices(pack, np.array([1, 3, 20, 21, 30]), seed=0, epoch=0)) < {1, 3, 20, 21, 30}


@pytest.mark.parametrize("batch_size", [2, 4, 6, 20, 24, 100])
def test_num_train_batches_is_the_number_of_batches(batch_size):
    for tumour in (TUMOUR, [False] * 7, [True] * 9):
        pack = small_pack(tumour)
        num_batches = num_train_batches(pack, batch_size=batch_size)
        for epoch in (0, 1):
            batches = list(train_batches(pack, all_slices(pack), batch_size=batch_size, seed=0, epoch=epoch))
            assert len(batches) == num_batches


@pytest.mark.parametrize("world_size", [2, 4])
def test_train_batches_of_all_ranks_together_are_those_of_one_worker(world_size):
    pack = small_pack(TUMOUR, size=16)
    augment = build_augment(AugmentConfig())
    options = {"batch_size": 8, "seed": 3, "epoch": 2, "augment": augment}
    alone = list(train_batches(pack, all_slices(pack), **options))
    ranks = [
        list(train_batches(pack, all_slices(pack), rank=rank, world_size=world_size, **options))
        for rank in range(world_size)
    ]
    assert len(alone) == 2  # 20 slices: the last four are dropped
    for i, batch in enumerate(alone):
        for name in ("slices", "images", "masks"):
            union = np.zeros_like(getattr(batch, name))
            for rank in range(world_size):
                union[rank::world_size] = getattr(ranks[rank][i], name)
            np.testing.assert_array_equal(union, getattr(batch, name))


def test_train_batches_pads_the_only_batch_to_equal_shares():
    pack = small_pack([True] * 5)
    shares = [
        next(train_batches(pack, all_slices(pack), batch_size=8, seed=0, epoch=0, rank=rank, world_size=4)).slices
        for rank in range(4)
    ]
    order = epoch_slices(pack, all_slices(pack), seed=0, epoch=0)
    assert [len(share) for share in shares] == [2, 2, 2, 2]
    np.testing.assert_array_equal(np.stack(shares, axis=1).ravel(), [*order, *order[:3]])


def test_train_batches_without_augmentation_are_the_normalised_slices():
    pack = small_pack([True, False, True, False])
    batch = next(train_batches(pack, all_slices(pack), batch_size=4, seed=0, epoch=0))
    assert batch.images.shape == (4, 3, 8, 8)
    assert batch.masks.shape == (4, 1, 8, 8)
    expected = (pack.images[batch.slices].astype(np.float32) - 100) / 50
    np.testing.assert_allclose(batch.images, expected.transpose(0, 3, 1, 2), rtol=1e-6)
    np.testing.assert_array_equal(batch.masks[:, 0], pack.masks[batch.slices])


def test_train_batches_augment_anew_each_epoch_and_leave_the_pack_alone():
    pack = small_pack([True] * 4, size=16)
    augment, before = build_augment(AugmentConfig()), pack.images.copy()
    by_epoch = []
    for epoch in (0, 1):
        batch = next(train_batches(pack, all_slices(pack), batch_size=4, seed=0, epoch=epoch, augment=augment))
        by_epoch.append(batch.images[np.argsort(batch.slices)])
    assert (by_epoch[0] != by_epoch[1]).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(pack.images, before)


@pytest.mark.parametrize("world_size", [1, 2, 3, 7, 50])
def test_eval_batches_hold_every_slice_exactly_once(world_size):
    pack = small_pack(TUMOUR)
    slices = np.arange(30, 3, -1)
    found = []
    for rank in range(world_size):
        share = [b.slices for b in eval_batches(pack, slices, batch_size=4, rank=rank, world_size=world_size)]
        assert all(0 < len(part) <= 4 for part in share)
        np.testing.assert_array_equal(np.concatenate([np.zeros(0, int), *share]), slices[rank::world_size])
        found.extend(index for part in share for index in part)
    assert sorted(found) == sorted(slices)


def test_batches_leave_no_thread_behind():
    pack = small_pack(TUMOUR)
    batches = train_batches(pack, all_slices(pack), batch_size=2, seed=0, epoch=0)
    next(batches)
    assert loader_threads()
    start = time.perf_counter()
    batches.close()
    assert time.perf_counter() - start < 0.5
    assert not loader_threads()
    list(eval_batches(pack, all_slices(pack), batch_size=4))
    assert not loader_threads()


def test_batches_are_prepared_at_most_two_ahead():
    pack = small_pack([True] * 12)
    seen = []

    def record(image, mask, seed):
        seen.append(seed)
        return image, mask

    batches = train_batches(pack, all_slices(pack), batch_size=1, seed=0, epoch=0, augment=record)
    next(batches)
    deadline = time.perf_counter() + 0.2
    while len(seen) < 4 and time.perf_counter() < deadline:
        time.sleep(0.005)
    batches.close()
    assert len(seen) <= 3  # the one that was handed out and two more


def test_batches_raise_an_error_of_their_thread():
    pack = small_pack([True] * 4)

    def broken(image, mask, seed):
        raise RuntimeError("no such transform")

    with pytest.raises(RuntimeError, match="no such transform"):
        next(train_batches(pack, all_slices(pack), batch_size=2, seed=0, epoch=0, augment=broken))
    assert not loader_threads()


@pytest.mark.parametrize(("batch_size", "world_size"), [(5, 2), (0, 1), (2, 4)])
def test_train_batches_refuses_a_batch_that_ranks_cannot_share(batch_size, world_size):
    pack = small_pack(TUMOUR)
    with pytest.raises(ValueError, match=rf"batch_size is {batch_size}, but must be .* multiple .*\({world_size}\)"):
        train_batches(pack, all_slices(pack), batch_size=batch_size, seed=0, epoch=0, world_size=world_size)


def test_train_batches_refuses_no_slices():
    pack = small_pack(TUMOUR)
    with pytest.raises(ValueError, match="slices is empty"):
        train_batches(pack, np.zeros(0, np.int64), batch_size=2, seed=0, epoch=0)


# --- context and channels ---


def context_pack(context_slices, *, channels=2, size=8):
    """Return a pack of patients of three, one and two slices; channel c of slice i is i * 10 + c everywhere."""
    small = small_pack([True, False, True, True, False, True], num_patients=3, size=size)
    values = np.arange(6)[:, None] * 10 + np.arange(channels)
    images = np.tile(values.astype(np.uint8)[:, None, None], (1, size, size, 1))
    statistics = np.arange(3 * channels, dtype=np.float32).reshape(3, channels)
    return replace(
        small,
        images=images,
        patient_of_slice=np.array([0, 0, 0, 1, 2, 2]),
        mean=statistics,
        std=statistics + 1,
        preprocessing=Preprocessing(size=size, context_slices=context_slices),
    )


SEEN = [[0, 0, 1], [0, 1, 2], [1, 2, 2], [3, 3, 3], [4, 4, 5], [4, 5, 5]]


def test_batches_with_context_hold_normalised_neighbours_from_below_to_above():
    pack = context_pack(1)
    (batch,) = eval_batches(pack, all_slices(pack), batch_size=6)
    assert batch.images.shape == (6, pack.num_channels, 8, 8) == (6, 6, 8, 8)
    for i, seen in enumerate(SEEN):
        mean = np.tile(np.array([[0, 1], [2, 3], [4, 5]])[pack.patient_of_slice[i]], 3)
        raw = np.array([index * 10 + channel for index in seen for channel in (0, 1)])
        expected = ((raw - mean) / (mean + 1).astype(np.float32)).astype(np.float32)
        np.testing.assert_array_equal(batch.images[i], np.broadcast_to(expected[:, None, None], (6, 8, 8)))
    np.testing.assert_array_equal(batch.masks[:, 0], pack.masks)


def test_train_batches_with_context_see_what_eval_batches_see():
    pack = context_pack(1)
    (expected,) = eval_batches(pack, all_slices(pack), batch_size=6)
    (batch,) = train_batches(pack, all_slices(pack), batch_size=6, seed=0, epoch=0)
    np.testing.assert_array_equal(batch.images, expected.images[batch.slices])
    np.testing.assert_array_equal(batch.masks, expected.masks[batch.slices])


def test_batches_with_context_take_neighbours_outside_the_chosen_slices():
    pack = context_pack(1)
    (batch,) = eval_batches(pack, np.array([1]), batch_size=4)
    assert batch.slices.tolist() == [1]
    assert batch.images[0, ::2, 0, 0].tolist() == [0, 10, 20]  # channel 0 of this patient has mean 0 and deviation 1


@pytest.mark.parametrize(("channels", "context_slices"), [(1, 0), (3, 0), (4, 0), (1, 1), (3, 1), (4, 1), (3, 5)])
def test_augmentation_takes_any_number_of_channels_and_moves_them_alike(channels, context_slices):
    pack = context_pack(context_slices, channels=channels, size=32)
    texture = np.random.default_rng(0).integers(0, 200, (32, 32, 1), dtype=np.uint8)
    pack = replace(pack, images=pack.images + texture, mean=np.zeros((3, channels), np.float32))
    pack = replace(pack, std=np.ones((3, channels), np.float32))
    options: dict[str, Any] = {"batch_size": 6, "seed": 1, "epoch": 0}
    (plain,) = train_batches(pack, all_slices(pack), **options)
    (batch,) = train_batches(pack, all_slices(pack), augment=build_augment(AugmentConfig(strength=2.0)), **options)
    num_channels = channels * (2 * context_slices + 1)
    assert batch.images.shape == plain.images.shape == (6, num_channels, 32, 32)
    assert (batch.images != plain.images).any(axis=(2, 3)).all(), "every channel of every slice is changed"
    assert batch.images.min() >= 0
    assert batch.images.max() <= 255
    assert np.isin(batch.masks, (0, 1)).all()


def test_augmentation_moves_all_slices_of_a_context_and_the_mask_alike():
    pack = context_pack(1, channels=1, size=32)
    masks = np.zeros((6, 32, 32), np.uint8)
    masks[:, 6:18, 10:20] = True
    images = np.where(masks, 220, 20).astype(np.uint8)[..., None]
    pack = replace(pack, images=images, masks=masks, mean=np.zeros((3, 1), np.float32), std=np.ones((3, 1), np.float32))
    num_moved = 0
    for epoch in range(8):
        options = {"batch_size": 6, "seed": 0, "epoch": epoch, "augment": build_augment(AugmentConfig())}
        (batch,) = train_batches(pack, all_slices(pack), **options)
        bright = batch.images > 120
        assert (bright != batch.masks).mean(axis=(2, 3)).max() < 0.04  # the border is blurred
        num_moved += (batch.masks[:, 0] != masks[batch.slices]).any(axis=(1, 2)).sum()
    assert num_moved > 24


@pytest.mark.parametrize(("channels", "context_slices"), [(1, 0), (3, 0), (3, 1), (4, 5)])
def test_batches_have_channels_last_in_memory(channels, context_slices):
    pack = context_pack(context_slices, channels=channels)
    (batch,) = eval_batches(pack, all_slices(pack), batch_size=6)
    assert batch.images.transpose(0, 2, 3, 1).flags.c_contiguous


# --- processes ---


def test_train_loader_with_processes_gives_the_same_batches_bit_for_bit():
    pack = small_pack(TUMOUR, size=16)
    options = {"batch_size": 4, "seed": 3, "rank": 1, "world_size": 2, "augment": AugmentConfig(strength=2.0)}
    with (
        train_loader(pack, num_processes=0, **options) as here,
        train_loader(pack, num_processes=2, **options) as there,
    ):
        for epoch in (1, 2, 5):
            expected, found = list(here(epoch=epoch)), list(there(epoch=epoch))
            assert len(found) == len(expected) == 5
            for one, other in zip(expected, found, strict=True):
                np.testing.assert_array_equal(one.images, other.images)
                np.testing.assert_array_equal(one.masks, other.masks)
                np.testing.assert_array_equal(one.slices, other.slices)


def test_train_loader_starts_an_epoch_again_after_one_was_closed_early():
    pack = small_pack(TUMOUR, size=16)
    options = {"batch_size": 2, "seed": 0, "rank": 0, "world_size": 1, "augment": AugmentConfig()}
    with (
        train_loader(pack, num_processes=0, **options) as here,
        train_loader(pack, num_processes=2, **options) as there,
    ):
        closed = there(epoch=1)
        next(closed)
        closed.close()
        for expected, found in zip(here(epoch=2), there(epoch=2), strict=True):
            np.testing.assert_array_equal(expected.images, found.images)


def test_train_loader_ends_its_processes_even_if_it_is_still_referenced():
    pack = small_pack([True] * 8, size=16)
    options = {"batch_size": 4, "seed": 0, "rank": 0, "world_size": 1, "augment": AugmentConfig()}
    before = set(multiprocessing.active_children())
    with train_loader(pack, num_processes=2, **options) as batches:
        list(batches(epoch=1))
        assert len(set(multiprocessing.active_children()) - before) == 2
    assert set(multiprocessing.active_children()) == before  # as the traceback of a training that was halted does
