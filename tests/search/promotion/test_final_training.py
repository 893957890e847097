"""The winning configuration, trained again on all patients but the test patients."""

from dataclasses import replace

import pytest
import torch

from model.scoring.scores import PatientScore
from model.training.checkpoint import load_checkpoint
from model.training.train import train
from search.planning.deadline import Deadline
from search.promotion import retraining
from search.promotion.candidates import Candidate
from search.promotion.final_training import train_with_seeds
from search.promotion.options import Promotion
from tests.support.fakes import head_of, trial_row

ROW = trial_row(1, [0.5], sample={"learning_rate": 1e-3, "depth": 2, "dropout": 0.0, "bce_weight": 0.5})


def winner_with(dice, cohort, row=ROW):
    """Return a winner with this Dice for every validation patient."""
    scores = [
        PatientScore(
            patient=name,
            num_slices=3,
            dice=dice,
            iou=dice,
            precision=dice,
            recall=dice,
            accuracy=dice,
            predicted_pixels=10,
            true_pixels=12,
        )
        for name in cohort.split.val
    ]
    return Candidate(name=row.id, row=row, networks=(), files=(), epoch=1, reported_dice=dice, scores=scores)


@pytest.fixture
def config(searched):
    return replace(searched[0], promotion=Promotion(final_seeds=2))


@pytest.fixture
def cohort(searched):
    return searched[1]


def test_train_with_seeds_trains_on_training_and_validation_patients(config, cohort, retrainer_of, monkeypatch):
    trained = []

    def remember(network, config, pack, val_pack):
        trained.append((config.seed, set(pack.patient_ids), val_pack))
        yield from train(network, config, pack, val_pack)

    monkeypatch.setattr(retraining, "train", remember)
    config = replace(config, name="sides")
    train_with_seeds(winner_with(0.0, cohort), retrainer_of(config))
    patients = {*cohort.split.train, *cohort.split.val}
    assert trained == [(1, patients, None), (2, patients, None)]


def test_train_with_seeds_keeps_the_last_epoch_of_each_training_on_disk(config, cohort, retrainer_of):
    final = train_with_seeds(winner_with(0.0, cohort), retrainer_of(config))
    assert final.record.networks == ("t001-trainval-seed1", "t001-trainval-seed2")
    assert (final.record.num_patients, final.record.epochs) == (len(cohort.split.train) + len(cohort.split.val), 2)
    assert not torch.equal(*(head_of(one).weight for one in final.networks))
    for file, network in zip(final.files, final.networks, strict=True):
        stored, history = load_checkpoint(file)
        assert len(history) == 2
        assert torch.equal(head_of(stored).weight, head_of(network).weight)
    written = [file.stat().st_mtime_ns for file in final.files]
    again = train_with_seeds(winner_with(0.0, cohort), retrainer_of(config))
    assert [file.stat().st_mtime_ns for file in again.files] == written, "they were trained a second time"


def test_final_training_of_another_length_is_another_training(config, cohort, retrainer_of):
    longer = replace(config, promotion=Promotion(final_seeds=1, final_epochs=3))
    final = train_with_seeds(winner_with(0.0, cohort), retrainer_of(longer))
    assert (final.record.networks, final.record.epochs) == (("t001-trainval-seed1-3epochs",), 3)
    assert len(load_checkpoint(final.files[0])[1]) == 3


def test_network_that_is_worse_than_the_winner_is_left_out(config, cohort, retrainer_of):
    final = train_with_seeds(winner_with(1.0, cohort), retrainer_of(config))
    assert (final.networks, final.files, final.record.networks) == ((), (), ())
    assert len(final.record.left_out) == 2
    assert "but that of t001 is 1.0000 without having seen them" in final.record.left_out[0]
    assert final.record.sentence.endswith("the winner's own network is the model")


def test_final_training_does_not_begin_when_its_time_is_over(config, cohort, retrainer_of, tmp_path):
    config = replace(config, out=tmp_path, promotion=Promotion(final_seeds=3))
    final = train_with_seeds(winner_with(0.0, cohort), retrainer_of(config), last_start=Deadline.after(-1))
    late = ("t001-trainval-seed2", "t001-trainval-seed3")
    assert (final.record.networks, final.record.not_begun) == (("t001-trainval-seed1",), late)
    assert final.record.left_out == tuple(f"{name} is left out: the budget had no time left for it" for name in late)
    assert final.record.sentence.startswith("The model is one network with the winning configuration")
    later = train_with_seeds(winner_with(0.0, cohort), retrainer_of(config), last_start=Deadline.after(600))
    assert (len(later.record.networks), later.record.not_begun) == (3, ())


def test_failed_final_trainings_are_left_out(config, cohort, retrainer_of, tmp_path):
    config = replace(config, out=tmp_path)
    wild = replace(ROW, sample=ROW.sample | {"learning_rate": 1e30})
    final = train_with_seeds(winner_with(0.0, cohort, wild), retrainer_of(config))
    assert final.networks == ()
    assert ["its training failed: train_loss was" in problem for problem in final.record.left_out] == [True, True]
