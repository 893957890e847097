"""Loaders: balanced, the same for any number of workers, and without a thread left behind."""

import threading
import time

import numpy as np
import pytest
from fakes import small_pack

from data.augment import AugmentConfig, build_augment
from data.loaders import epoch_slices, eval_batches, num_train_batches, train_batches

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
def test_epoch_slices_are_all_slices_when_one_kind_is_short(tumour, expected):
    pack = small_pack(tumour)
    assert sorted(epoch_slices(pack, all_slices(pack), seed=0, epoch=0)) == list(range(expected))


def test_epoch_slices_stay_among_the_given_slices():
    pack = small_pack(TUMOUR)
    assert set(epoch_slices(pack, np.array([1, 3, 20, 21, 30]), seed=0, epoch=0)) < {1, 3, 20, 21, 30}


@pytest.mark.parametrize("batch_size", [2, 4, 6, 20, 24, 100])
def test_num_train_batches_is_the_number_of_batches(batch_size):
    for tumour in (TUMOUR, [False] * 7, [True] * 9):
        pack = small_pack(tumour)
        num_batches = num_train_batches(pack, all_slices(pack), batch_size=batch_size)
        for epoch in (0, 1):
            batches = list(train_batches(pack, all_slices(pack), batch_size=batch_size, seed=0, epoch=epoch))
            assert len(batches) == num_batches


@pytest.mark.parametrize("world_size", [2, 4])
def test_train_batches_over_ranks_are_one_workers_batches(world_size):
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
def test_eval_batches_lose_and_repeat_nothing(world_size):
    pack = small_pack(TUMOUR)
    slices = np.arange(30, 3, -1)
    found = []
    for rank in range(world_size):
        share = [b.slices for b in eval_batches(pack, slices, batch_size=4, rank=rank, world_size=world_size)]
        assert all(0 < len(part) <= 4 for part in share)
        np.testing.assert_array_equal(np.concatenate([np.zeros(0, int), *share]), slices[rank::world_size])
        found.extend(index for part in share for index in part)
    assert sorted(found) == sorted(slices)


def test_batches_leave_no_thread_when_closed_early_or_run_to_the_end():
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


def test_batches_raise_what_went_wrong_in_their_thread():
    pack = small_pack([True] * 4)

    def broken(image, mask, seed):
        raise RuntimeError("no such transform")

    with pytest.raises(RuntimeError, match="no such transform"):
        next(train_batches(pack, all_slices(pack), batch_size=2, seed=0, epoch=0, augment=broken))
    assert not loader_threads()


@pytest.mark.parametrize(("batch_size", "world_size"), [(5, 2), (0, 1), (2, 4)])
def test_train_batches_refuses_a_batch_that_ranks_cannot_share(batch_size, world_size):
    pack = small_pack(TUMOUR)
    with pytest.raises(
        ValueError, match=rf"batch_size is {batch_size}, but must be a positive multiple .*\({world_size}"
    ):
        train_batches(pack, all_slices(pack), batch_size=batch_size, seed=0, epoch=0, world_size=world_size)


def test_train_batches_refuses_no_slices():
    pack = small_pack(TUMOUR)
    with pytest.raises(ValueError, match="slices is empty"):
        train_batches(pack, np.zeros(0, np.int64), batch_size=2, seed=0, epoch=0)
    assert num_train_batches(pack, np.zeros(0, np.int64), batch_size=2) == 0
