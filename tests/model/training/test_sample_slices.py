"""The validation slices that are shown during training: which are chosen, and how they are predicted."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.device import find_device
from model.training.sample_slices import MAX_SLICES, PredictedSlices, predict_slices, representative_slices
from model.training.train import train
from model.training.train_config import TrainConfig
from model.unet import UNetConfig
from tests.support.fakes import constant_state, small_pack

DEVICE = find_device("float32")


def grown(pack, index: int):
    """Return the pack with more tumour in a slice."""
    masks = pack.masks.copy()
    masks[index] = True
    return replace(pack, masks=masks)


def test_representative_slice_is_the_one_with_the_most_tumour():
    pack = small_pack([True, True, True, False, True, False], num_patients=2)
    assert representative_slices(pack).tolist() == [0, 4]
    assert representative_slices(grown(pack, 2)).tolist() == [2, 4]


def test_representative_slice_of_a_patient_without_tumour_is_the_middle():
    assert representative_slices(small_pack([False] * 10, num_patients=2)).tolist() == [2, 7]


def test_representative_slices_are_of_the_first_patients_only():
    pack = small_pack([True] * 60, num_patients=20)
    slices = representative_slices(pack)
    assert pack.patient_of_slice[slices].tolist() == list(range(MAX_SLICES))


@pytest.mark.parametrize(("logit", "share"), [(1.0, 1.0), (-1.0, 0.0)])
def test_predict_slices_returns_what_the_network_predicts(logit, share):
    pack = small_pack([True, False, True, False], num_patients=2)
    shown = predict_slices(constant_state(logit).network, pack, DEVICE)
    assert shown.patients == ("P0", "P1")
    assert shown.numbers.tolist() == [0, 2]
    assert shown.predicted.mean() == share
    assert (shown.true == pack.masks[[0, 2]]).all()
    assert (shown.images == pack.images[[0, 2], ..., 1]).all()


def test_slice_dice_by_hand():
    true, predicted = np.zeros((2, 3, 4, 4), bool)
    true[0, 0, :2] = predicted[0, 0, 1:3] = True
    predicted[1, 0, 0] = True
    images = np.zeros((3, 4, 4), np.uint8)
    shown = PredictedSlices(
        patients=("A", "B", "C"), numbers=np.arange(3), images=images, true=true, predicted=predicted
    )
    assert shown.dices[:2].tolist() == [0.5, 0.0]
    assert np.isnan(shown.dices[2])


def test_training_is_the_same_whether_slices_are_predicted_or_not():
    pack = small_pack([True, True, False, False, True, True], size=16)
    config = TrainConfig(max_epochs=3, batch_size=2, precision="float32")
    weights = []
    for shows in (False, True):
        results = []
        for result in train(UNetConfig(depth=2, width=4, dropout=0.3), config, pack, pack):
            results.append(result)
            if shows:
                predict_slices(result.state.network, pack, DEVICE)
        weights.append(results[-1].state.network.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
