"""The training loop repeats itself bit for bit, resumes as if it had never stopped, and ends when it should."""

import math
import re

import numpy as np
import pytest
import torch

from data.errors import UserError
from data.preprocess import normalise
from model.training.checkpoint import CheckpointError
from model.training.train import train
from model.unet import NORMS, UNetConfig
from tests.support.fakes import small_pack
from tests.support.training import PACK, UNET, bytes_after, run_training, same_weights, small_training, without_clocks


def test_train_yields_one_result_an_epoch_and_only_the_last_is_finished():
    results, _ = run_training()
    assert [result.metrics["epoch"] for result in results] == [1, 2, 3, 4]
    assert [result.finished for result in results] == [False, False, False, True]
    assert all(result.failure is None for result in results)
    for clock in (result.metrics for result in results):
        assert clock["waiting_seconds"] >= 0
        assert clock["val_seconds"] > 0
        assert clock["waiting_seconds"] + clock["val_seconds"] < clock["seconds"]


def test_train_learns():
    results, _ = run_training(max_epochs=12, learning_rate=1e-2, augment=0.0)
    assert results[-1].metrics["train_loss"] < results[0].metrics["train_loss"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_train_with_one_seed_repeats_bit_for_bit(seed):
    (one, weights), (other, other_weights) = run_training(seed=seed), run_training(seed=seed)
    assert without_clocks(one) == without_clocks(other)
    assert same_weights(weights, other_weights)


def test_train_with_loader_processes_is_the_same_training():
    [here, weights], [there, others] = run_training(augment=2.0), run_training(augment=2.0, loader_processes=2)
    assert without_clocks(here) == without_clocks(there)
    assert same_weights(weights, others)


def test_train_with_another_seed_differs():
    assert not same_weights(run_training(seed=0)[1], run_training(seed=1)[1])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_train_resumed_equals_uninterrupted(norm, stop_after):
    unet = UNetConfig(depth=1, width=2, dropout=0.3, norm=norm)
    whole, weights = run_training(unet)
    rest, resumed_weights = run_training(unet, resume_from=bytes_after(stop_after, unet))
    assert without_clocks(rest) == without_clocks(whole)[stop_after:]
    assert same_weights(resumed_weights, weights)


def test_train_resumed_keeps_the_history_of_its_patience():
    frozen = {"learning_rate": 1e-30, "patience": 2, "max_epochs": 9}
    results, _ = run_training(resume_from=bytes_after(2, **frozen), **frozen)
    assert [result.metrics["epoch"] for result in results] == [3]


def test_train_resumed_at_its_last_epoch_yields_that_result_once_more():
    whole, weights = run_training()
    again, weights_again = run_training(resume_from=bytes_after(4))
    assert [result.metrics["epoch"] for result in again] == [4]
    assert without_clocks(again) == without_clocks(whole)[-1:]
    assert again[0].finished
    assert same_weights(weights_again, weights)


def test_train_bytes_of_an_epoch_do_not_change_with_the_next_epoch():
    epochs = train(UNET, small_training(), PACK, PACK)
    content = next(epochs).state.to_bytes()
    copy = bytes(content)
    next(epochs)
    assert content == copy
    assert run_training(resume_from=content)[0][0].metrics["epoch"] == 2


def test_train_ends_with_a_failure_when_the_loss_is_not_finite():
    results, _ = run_training(learning_rate=1e30)
    assert len(results) == 1
    assert results[0].finished
    assert results[0].failure == "train_loss was nan in epoch 1"
    assert math.isnan(results[0].metrics["train_loss"])
    assert "val_dice" not in results[0].metrics


@pytest.mark.parametrize(("patience", "num_epochs"), [(0, 6), (1, 2), (2, 3), (9, 6)])
def test_train_with_frozen_weights_ends_when_its_patience_is_over(patience, num_epochs):
    results, _ = run_training(learning_rate=1e-30, max_epochs=6, patience=patience)
    assert len(results) == num_epochs
    assert results[-1].finished
    assert results[-1].failure is None


def test_train_learning_rate_follows_warmup_and_cosine_by_hand():
    # Two of the six steps are warm-up. The metrics show the rate of the next step.
    results, _ = run_training(max_epochs=2, learning_rate=1e-3, warmup_fraction=1 / 3)
    after_three, after_six = (result.metrics["learning_rate"] for result in results)
    assert after_three == pytest.approx(1e-3 * (1 + math.cos(math.pi / 4)) / 2)
    assert after_six == pytest.approx(0, abs=1e-12)


def test_train_val_dice_is_the_mean_over_patients_of_pooled_slices():
    val = small_pack([True, False, False, True, True], num_patients=2, seed=3)  # 5 slices: the last batch is short
    *_, result = train(UNET, small_training(max_epochs=12, learning_rate=3e-2, bce_weight=0.0, augment=0.0), PACK, val)
    patients = val.patient_of_slice
    images = normalise(val.images.copy(), val.mean[patients], val.std[patients])
    with torch.inference_mode():
        predicted = result.state.network.eval()(torch.from_numpy(images))[:, 0].numpy() > 0
    dices = []
    for patient in (0, 1):
        mine = patients == patient
        hits = (predicted[mine] & val.masks[mine]).sum()
        dices.append(2 * hits / (predicted[mine].sum() + val.masks[mine].sum()))
    assert 0 < result.metrics["val_dice"] < 1
    assert result.metrics["val_dice"] == pytest.approx(np.mean(dices), abs=1e-12)


def test_train_in_bf16_stays_near_float32():
    losses = [
        run_training(max_epochs=1, precision=precision)[0][0].metrics["train_loss"] for precision in ("float32", "bf16")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=0.02)


def test_train_refuses_the_checkpoint_of_another_network():
    with pytest.raises(CheckpointError, match=r"checkpoint is of .*width=2.*but this training is of .*width=4"):
        run_training(UNetConfig(depth=1, width=4, dropout=0.3), resume_from=bytes_after(1))


def test_train_refuses_slices_that_the_network_cannot_halve():
    with pytest.raises(UserError, match=r"slices are 8 x 8 pixels, but .*depth=4.* needs .* 16 x 16"):
        run_training(UNetConfig(depth=4, width=2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_epochs": 0}, "max_epochs is 0, but must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, but must be above 0"),
        ({"learning_rate": math.nan}, "learning_rate is nan, but must be a number above 0"),
        ({"weight_decay": -1e-3}, "weight_decay is -0.001, but must be at least 0"),
        ({"batch_size": 0}, "batch_size is 0, but must be from 1 to 4096"),
        ({"bce_weight": 1.1}, "bce_weight is 1.1, but must be from 0 to 1"),
        ({"bce_weight": math.nan}, "bce_weight is nan, but must be a number from 0 to 1"),
        ({"warmup_fraction": -0.1}, "warmup_fraction is -0.1, but must be from 0 to 1"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0, but must be above 0"),
        ({"precision": "half"}, "precision is 'half', but must be one of auto, float32, bf16, fp16"),
        ({"patience": -1}, "patience is -1, but must be from 0 to 10000"),
    ],
)
def test_train_config_refuses_illegal_settings(changes, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        small_training(**changes)
