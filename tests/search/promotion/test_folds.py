"""The race of the candidates over folds by patient."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.preprocess import Preprocessing
from model.networks import build
from model.training.train import train
from model.unet import UNetConfig
from search.cluster.task_runner import TaskRunner
from search.cohort import read_cohort
from search.config import SearchConfig
from search.promotion import folds, retraining
from search.promotion.best_folder import default_settings
from search.promotion.candidates import Candidate
from search.promotion.folds import p_worse, race
from search.promotion.ranking import gain_over_default
from search.promotion_options import Promotion
from search.record.model_metrics import FoldPatientScore
from tests.support.fakes import trial_row, write_lgg_patient

SAMPLE = {"learning_rate": 1e-3, "depth": 2, "dropout": 0.0, "bce_weight": 0.5}
WILD = SAMPLE | {"learning_rate": 1e30}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The config and the cohort of a search over ten tiny patients."""
    root = tmp_path_factory.mktemp("folds")
    for number in range(10):
        write_lgg_patient(root / "patients", f"P{number}", tumour_numbers=(2, 10), seed=number)
    config = SearchConfig(
        data=str(root / "patients"),
        out=root,
        name="tiny",
        preprocessing=Preprocessing(size=64),
        width=2,
        batch_size=4,
        max_epochs=1,
        cache=False,
        precision="float32",
        promotion=Promotion(folds=3),
    )
    return config, read_cohort(config)


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def candidate(number: int, sample=SAMPLE) -> Candidate:
    row, network = trial_row(number, [0.5], sample=sample), build(UNetConfig(depth=1, width=2))
    return Candidate(name=row.id, row=row, networks=(network,), files=(), epoch=1, reported_dice=0.5, scores=[])


def scores_of(*dices: float, fold: int = 1) -> tuple[FoldPatientScore, ...]:
    """Return the scores of as many patients, with these Dices."""
    return tuple(
        FoldPatientScore(
            patient=f"{fold}-{place}",
            fold=fold,
            num_slices=3,
            dice=dice,
            iou=0.5,
            precision=0.5,
            recall=0.5,
            accuracy=0.5,
            predicted_pixels=10,
            true_pixels=12,
        )
        for place, dice in enumerate(dices)
    )


def run(config, cohort, *candidates):
    return race(candidates, config, cohort, default_settings(config, cohort), TaskRunner(None))


def plant(monkeypatch, scores):
    """Let a race find these scores, by name and fold, instead of training networks."""
    trained = []

    def find(self, racing, number):
        trained.append([one.name for one in racing])
        return {one.name: scores_of(*scores[one.name][number - 1], fold=number) for one in racing}

    monkeypatch.setattr(folds._Folds, "train", find)
    return trained


def test_race_scores_each_patient_outside_the_test_side_once(searched):
    config, cohort = searched
    [winner], record = run(config, cohort, candidate(1))
    names = [score.patient for score in winner.fold_scores]
    assert sorted(names) == sorted((*cohort.split.train, *cohort.split.val))
    assert record.patients == winner.fold_scores
    assert record.num_folds == len(record.folds) == 3
    sizes = np.bincount([score.fold for score in winner.fold_scores])[1:]
    assert sizes.max() - sizes.min() <= 1


def test_race_trains_without_the_patients_it_scores_and_only_once(searched, monkeypatch):
    config, cohort = searched
    trained = []

    def remember(network, config, train_pack, val_pack):
        trained.append(set(train_pack.patient_ids))
        yield from train(network, config, train_pack, val_pack)

    monkeypatch.setattr(retraining, "train", remember)
    config = replace(config, name="sides", promotion=Promotion(folds=2))
    [winner], _ = run(config, cohort, candidate(1))
    for fold, seen in enumerate(trained, start=1):
        held_out = {score.patient for score in winner.fold_scores if score.fold == fold}
        assert seen | held_out == {*cohort.split.train, *cohort.split.val}
        assert not seen & held_out
    [again], _ = run(config, cohort, candidate(1))
    assert len(trained) == 2, "what is on disk was trained a second time"
    assert [one.dice for one in again.fold_scores] == [one.dice for one in winner.fold_scores]


def test_candidate_that_is_clearly_worse_leaves_the_race(searched, monkeypatch):
    config, cohort = searched
    good, bad = (0.8, 0.7, 0.9, 0.8), (0.1, 0.2, 0.3, 0.1)
    trained = plant(monkeypatch, {"t000": [bad] * 3, "t001": [good] * 3, "t002": [good[::-1]] * 3})
    ranked, record = run(config, cohort, candidate(0), candidate(1), candidate(2))
    assert trained == [["t000", "t001", "t002"], ["t001", "t002"], ["t001", "t002"]]
    assert [one.name for one in ranked][2] == "t000"
    assert [(one.name, one.num_patients) for one in record.raced][2] == ("t000", 4)
    assert record.raced[2].p_value == 0.0625  # one of the 16 signs that four differences can have


def test_race_promotes_another_than_the_default_only_if_it_is_better_by_a_standard_error(searched, monkeypatch):
    config, cohort = searched
    default = [(0.5, 0.6, 0.7)] * 3
    for gains, winner in (((0.2, -0.15, 0.0), "t000"), ((0.1, 0.12, -0.01), "t001")):
        other = [tuple(dice + gain for dice, gain in zip(default[0], gains, strict=True))] * 3
        plant(monkeypatch, {"t000": default, "t001": other})
        ranked, _ = run(config, cohort, candidate(1), candidate(0))
        assert ranked[0].name == winner


def test_gain_is_over_the_patients_of_the_folds(searched, monkeypatch):
    config, cohort = searched
    plant(monkeypatch, {"t000": [(0.1, 0.2, 0.3, 0.1)] * 3, "t001": [(0.8, 0.7, 0.9, 0.8)] * 3})
    ranked, _ = run(config, cohort, candidate(0), candidate(1))
    gain = gain_over_default(ranked, 0)
    assert gain is not None
    assert gain.gain == pytest.approx(0.625)
    assert gain.patients == "4 patients in folds"  # the default left after the first fold
    assert gain.default_dice == pytest.approx(0.175)


def test_with_several_objectives_the_winner_stays_and_alone_is_trained(searched, monkeypatch):
    config, cohort = searched
    config = replace(config, objective=("val_dice", "latency_ms"))
    trained = plant(monkeypatch, {"t001": [(0.1, 0.2)] * 3})
    ranked, record = run(config, cohort, candidate(1), candidate(0))
    assert trained == [["t001"]] * 3
    assert [one.name for one in ranked] == ["t001", "t000"]
    assert len(record.raced) == 1


def test_candidate_whose_training_fails_leaves_the_race_and_is_named(searched):
    config, cohort = searched
    ranked, record = run(config, cohort, candidate(2, WILD), candidate(1))
    assert [one.name for one in ranked] == ["t001", "t002"]
    assert record.failures[0].startswith("the training of t002-fold1of3 failed: train_loss was")
    assert len(record.patients) == len(cohort.split.train) + len(cohort.split.val)
    [alone], record = run(config, cohort, candidate(2, WILD))
    assert (alone.name, record.patients, record.summary.num_patients) == ("t002", (), 0)


def test_equal_candidates_are_not_worse():
    one, other = (replace(candidate(number), fold_scores=scores_of(0.5, 0.6)) for number in (1, 2))
    assert p_worse(one, other) == 1.0
