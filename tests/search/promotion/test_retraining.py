"""The winning configuration, trained again: with other seeds, and without the patients it is scored on."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from data.preprocess import Preprocessing
from model.training.checkpoint import load_checkpoint
from model.training.train import train
from model.training.train_config import TrainConfig
from search.cluster.task_runner import TaskRunner
from search.cohort import read_cohort
from search.config import SearchConfig
from search.promotion.best_folder import default_settings
from search.promotion.retraining import cross_validate, train_with_seeds
from search.promotion_options import Promotion
from search.space import to_configs
from tests.support.fakes import head_of, trial_row, write_lgg_patient

WINNER = trial_row(1, [0.5], sample={"learning_rate": 1e-3, "depth": 2, "dropout": 0.0, "bce_weight": 0.5})


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
        promotion=Promotion(final_seeds=2, folds=3),
    )
    return config, read_cohort(config)


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_train_with_seeds_gives_a_candidate_for_each_and_keeps_them_on_disk(searched):
    config, cohort = searched
    settings = default_settings(config, cohort)
    found = train_with_seeds(WINNER, config, cohort, settings, TaskRunner(None))
    assert [one.name for one in found] == [
        *("t001-seed1", "t001-seed2"),
        *("t001-seed1-average", "t001-seed2-average"),
    ]
    weights = [head_of(one.networks[0]).weight for one in found]
    assert not torch.equal(*weights[:2])
    assert [math.isnan(one.reported_dice) for one in found] == [False, False, True, True]
    for one in found:
        assert torch.equal(head_of(load_checkpoint(one.files[0])[0]).weight, head_of(one.networks[0]).weight)
        assert [score.patient for score in one.scores] == list(cohort.split.val)
    written = [one.files[0].stat().st_mtime_ns for one in found]
    again = train_with_seeds(WINNER, config, cohort, settings, TaskRunner(None))
    assert [one.files[0].stat().st_mtime_ns for one in again] == written, "they were trained a second time"


def test_cross_validate_scores_each_patient_outside_the_test_side_once(searched):
    config, cohort = searched
    found = cross_validate(WINNER, config, cohort, default_settings(config, cohort), TaskRunner(None))
    names = [row.patient for row in found.patients]
    assert sorted(names) == sorted((*cohort.split.train, *cohort.split.val))
    assert found.num_folds == len(found.folds) == 3
    assert found.summary.num_patients == len(names)
    sizes = np.bincount([row.fold for row in found.patients])[1:]
    assert sizes.max() - sizes.min() <= 1
    again = cross_validate(WINNER, config, cohort, default_settings(config, cohort), TaskRunner(None))
    assert [row.dice for row in again.patients] == [row.dice for row in found.patients]


def test_cross_validate_trains_without_the_patients_it_scores(searched, monkeypatch):
    config, cohort = searched
    trained = []

    def remember(unet, config, train_pack, val_pack):
        trained.append((set(train_pack.patient_ids), set(val_pack.patient_ids)))
        yield from train(unet, config, train_pack, val_pack)

    from search.promotion import retraining

    train = retraining.train
    monkeypatch.setattr(retraining, "train", remember)
    two = replace(config, promotion=Promotion(folds=2))
    found = cross_validate(WINNER, two, cohort, default_settings(config, cohort), TaskRunner(None))
    for fold, (others, held_out) in enumerate(trained, start=1):
        assert not others & held_out
        assert {row.patient for row in found.patients if row.fold == fold} == held_out
        assert not others & set(cohort.split.test)


def test_failed_trainings_are_reported_and_the_others_used(searched, tmp_path, capsys):
    config, cohort = searched
    config = replace(config, out=tmp_path, precision="float32")
    settings = default_settings(config, cohort)
    wild = replace(WINNER, sample=WINNER.sample | {"learning_rate": 1e30})
    assert train_with_seeds(wild, config, cohort, settings, TaskRunner(None)) == []
    assert capsys.readouterr().err.count("note: the training of t001-seed") == 2
    found = cross_validate(wild, config, cohort, settings, TaskRunner(None))
    assert len(found.failures) == 3
    assert (found.patients, found.summary.num_patients) == ((), 0)


def test_the_average_is_that_of_the_last_quarter_of_the_epochs(searched, tmp_path):
    config, cohort = searched
    config = replace(config, out=tmp_path, max_epochs=8, promotion=Promotion(final_seeds=1))
    found = train_with_seeds(WINNER, config, cohort, default_settings(config, cohort), TaskRunner(None))
    average = next(one for one in found if one.name.endswith("average")).networks[0].state_dict()
    unet, fixed = to_configs(WINNER.sample, replace(config.shared_settings(3), seed=1, patience=0))
    assert isinstance(fixed, TrainConfig)
    weights = [
        {name: value.clone() for name, value in result.state.network.state_dict().items()}
        for result in train(unet, fixed, cohort.train_pack, cohort.val_pack)
    ]
    for name, value in average.items():
        assert torch.allclose(value, (weights[6][name] + weights[7][name]) / 2, atol=1e-6), name
    assert not torch.allclose(average["head.weight"], weights[7]["head.weight"], atol=1e-6)
