"""The winning configuration, trained again on all patients but the test patients."""

from dataclasses import replace

import pytest
import torch

from data.preprocess import Preprocessing
from model.scoring.scores import PatientScore
from model.training.checkpoint import load_checkpoint
from model.training.train import train
from search.cluster.task_runner import TaskRunner
from search.cohort import read_cohort
from search.config import SearchConfig
from search.promotion import retraining
from search.promotion.best_folder import default_settings
from search.promotion.candidates import Candidate
from search.promotion.final_training import train_with_seeds
from search.promotion_options import Promotion
from tests.support.fakes import head_of, trial_row, write_lgg_patient

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


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The config and the cohort of a search over eight tiny patients."""
    root = tmp_path_factory.mktemp("final")
    for number in range(8):
        write_lgg_patient(root / "patients", f"P{number}", tumour_numbers=(2, 10), seed=number)
    config = SearchConfig(
        data=str(root / "patients"),
        out=root,
        name="tiny",
        preprocessing=Preprocessing(size=64),
        width=2,
        batch_size=4,
        max_epochs=2,
        cache=False,
        precision="float32",
        promotion=Promotion(final_seeds=2),
    )
    return config, read_cohort(config)


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_train_with_seeds_trains_on_training_and_validation_patients(searched, monkeypatch):
    config, cohort = searched
    trained = []

    def remember(network, config, pack, val_pack):
        trained.append((config.seed, set(pack.patient_ids), val_pack))
        yield from train(network, config, pack, val_pack)

    monkeypatch.setattr(retraining, "train", remember)
    config = replace(config, name="sides")
    train_with_seeds(winner_with(0.0, cohort), config, cohort, default_settings(config, cohort), TaskRunner(None))
    patients = {*cohort.split.train, *cohort.split.val}
    assert trained == [(1, patients, None), (2, patients, None)]


def test_train_with_seeds_keeps_the_last_epoch_of_each_training_on_disk(searched):
    config, cohort = searched
    settings = default_settings(config, cohort)
    final = train_with_seeds(winner_with(0.0, cohort), config, cohort, settings, TaskRunner(None))
    assert final.record.networks == ("t001-trainval-seed1", "t001-trainval-seed2")
    assert (final.record.num_patients, final.record.epochs) == (len(cohort.split.train) + len(cohort.split.val), 2)
    assert not torch.equal(*(head_of(one).weight for one in final.networks))
    for file, network in zip(final.files, final.networks, strict=True):
        stored, history = load_checkpoint(file)
        assert len(history) == 2
        assert torch.equal(head_of(stored).weight, head_of(network).weight)
    written = [file.stat().st_mtime_ns for file in final.files]
    again = train_with_seeds(winner_with(0.0, cohort), config, cohort, settings, TaskRunner(None))
    assert [file.stat().st_mtime_ns for file in again.files] == written, "they were trained a second time"


def test_network_that_is_worse_than_the_winner_is_left_out(searched):
    config, cohort = searched
    final = train_with_seeds(
        winner_with(1.0, cohort), config, cohort, default_settings(config, cohort), TaskRunner(None)
    )
    assert (final.networks, final.files, final.record.networks) == ((), (), ())
    assert len(final.record.left_out) == 2
    assert "but that of t001 is 1.0000 without having seen them" in final.record.left_out[0]
    assert final.record.sentence.endswith("the winner's own network is the model")


def test_failed_final_trainings_are_left_out(searched, tmp_path):
    config, cohort = searched
    config = replace(config, out=tmp_path)
    wild = replace(ROW, sample=ROW.sample | {"learning_rate": 1e30})
    settings = default_settings(config, cohort)
    final = train_with_seeds(winner_with(0.0, cohort, wild), config, cohort, settings, TaskRunner(None))
    assert final.networks == ()
    assert ["its training failed: train_loss was" in problem for problem in final.record.left_out] == [True, True]
