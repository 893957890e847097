"""The race of the candidates over folds by patient."""

from dataclasses import replace

import numpy as np
import pytest

from model.networks import build
from model.training.train import train
from model.unet import UNetConfig
from search.promotion import folds, retraining
from search.promotion.candidates import Candidate
from search.promotion.folds import p_worse, race
from search.promotion.options import Promotion
from search.promotion.ranking import gain_over_default
from search.record.model_metrics import FoldPatientScore
from tests.support.fakes import trial_row

SAMPLE = {"learning_rate": 1e-3, "depth": 2, "dropout": 0.0, "bce_weight": 0.5}
WILD = SAMPLE | {"learning_rate": 1e30}


@pytest.fixture
def config(searched):
    return replace(searched[0], promotion=Promotion(folds=3))


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


def plant(monkeypatch, scores):
    """Let a race find these scores, by name and fold, instead of training networks."""
    trained = []

    def find(racing, number, retrainer, failures):
        trained.append([one.name for one in racing])
        return {one.name: scores_of(*scores[one.name][number - 1], fold=number) for one in racing}

    monkeypatch.setattr(folds, "_train_fold", find)
    return trained


def test_race_scores_each_patient_outside_the_test_side_once(config, retrainer_of, searched):
    _, cohort = searched
    [winner], record = race([candidate(1)], retrainer_of(config))
    names = [score.patient for score in winner.fold_scores]
    assert sorted(names) == sorted((*cohort.split.train, *cohort.split.val))
    assert record.patients == winner.fold_scores
    assert record.num_folds == len(record.folds) == 3
    sizes = np.bincount([score.fold for score in winner.fold_scores])[1:]
    assert sizes.max() - sizes.min() <= 1


def test_race_trains_without_the_patients_it_scores_and_only_once(config, retrainer_of, searched, monkeypatch):
    _, cohort = searched
    trained = []

    def remember(network, config, train_pack, val_pack):
        trained.append(set(train_pack.patient_ids))
        yield from train(network, config, train_pack, val_pack)

    monkeypatch.setattr(retraining, "train", remember)
    config = replace(config, name="sides", promotion=Promotion(folds=2))
    [winner], _ = race([candidate(1)], retrainer_of(config))
    for fold, seen in enumerate(trained, start=1):
        held_out = {score.patient for score in winner.fold_scores if score.fold == fold}
        assert seen | held_out == {*cohort.split.train, *cohort.split.val}
        assert not seen & held_out
    [again], _ = race([candidate(1)], retrainer_of(config))
    assert len(trained) == 2, "what is on disk was trained a second time"
    assert [one.dice for one in again.fold_scores] == [one.dice for one in winner.fold_scores]


def test_candidate_that_is_clearly_worse_leaves_the_race(config, retrainer_of, monkeypatch):
    good, bad = (0.8, 0.7, 0.9, 0.8), (0.1, 0.2, 0.3, 0.1)
    trained = plant(monkeypatch, {"t000": [bad] * 3, "t001": [good] * 3, "t002": [good[::-1]] * 3})
    ranked, record = race([candidate(0), candidate(1), candidate(2)], retrainer_of(config))
    assert trained == [["t000", "t001", "t002"], ["t001", "t002"], ["t001", "t002"]]
    assert [one.name for one in ranked][2] == "t000"
    assert [(one.name, one.num_patients) for one in record.raced][2] == ("t000", 4)
    assert record.raced[2].p_value == 0.0625  # one of the 16 signs that four differences can have


def test_race_promotes_another_than_the_default_only_if_it_is_clearly_better(config, retrainer_of, monkeypatch):
    default = [(0.5, 0.6, 0.7)] * 3
    for gains, winner in (((0.2, -0.15, 0.0), "t000"), ((0.1, 0.12, -0.01), "t001")):
        other = [tuple(dice + gain for dice, gain in zip(default[0], gains, strict=True))] * 3
        plant(monkeypatch, {"t000": default, "t001": other})
        ranked, _ = race([candidate(1), candidate(0)], retrainer_of(config))
        assert ranked[0].name == winner


def test_gain_is_over_the_patients_of_the_folds(config, retrainer_of, monkeypatch):
    plant(monkeypatch, {"t000": [(0.1, 0.2, 0.3, 0.1)] * 3, "t001": [(0.8, 0.7, 0.9, 0.8)] * 3})
    ranked, _ = race([candidate(0), candidate(1)], retrainer_of(config))
    gain = gain_over_default(ranked, 0)
    assert gain is not None
    assert gain.gain == pytest.approx(0.625)
    assert gain.patients == "4 patients in folds"  # the default left after the first fold
    assert gain.default_dice == pytest.approx(0.175)
    assert gain.runner_up is None


def test_best_other_is_named_where_the_default_wins(config, retrainer_of, monkeypatch):
    default = (0.5, 0.6, 0.7)
    others = {"t001": (0.4, 0.6, 0.7), "t002": (0.7, 0.5, 0.7)}
    plant(monkeypatch, {"t000": [default] * 3, **{name: [dices] * 3 for name, dices in others.items()}})
    ranked, _ = race([candidate(1), candidate(2), candidate(0)], retrainer_of(config))
    gain = gain_over_default(ranked, 0)
    assert gain is not None
    assert (gain.gain, gain.standard_error) == (0, 0)
    assert gain.runner_up is not None
    assert gain.runner_up.trial == "t002"
    assert gain.runner_up.gain == pytest.approx(0.1 / 3)
    assert gain.runner_up.patients == "9 patients in folds"


def test_with_several_objectives_the_winner_stays_and_alone_is_trained(config, retrainer_of, monkeypatch):
    config = replace(config, objective=("val_dice", "latency_ms"))
    trained = plant(monkeypatch, {"t001": [(0.1, 0.2)] * 3})
    ranked, record = race([candidate(1), candidate(0)], retrainer_of(config))
    assert trained == [["t001"]] * 3
    assert [one.name for one in ranked] == ["t001", "t000"]
    assert len(record.raced) == 1


def test_candidate_whose_training_fails_leaves_the_race_and_is_named(config, retrainer_of, searched):
    _, cohort = searched
    ranked, record = race([candidate(2, WILD), candidate(1)], retrainer_of(config))
    assert [one.name for one in ranked] == ["t001", "t002"]
    assert record.failures[0].startswith("the training of t002-fold1of3-")
    assert len(record.patients) == len(cohort.split.train) + len(cohort.split.val)
    [alone], record = race([candidate(2, WILD)], retrainer_of(config))
    assert (alone.name, record.patients, record.summary.num_patients) == ("t002", (), 0)


def test_equal_candidates_are_not_worse():
    one, other = (replace(candidate(number), fold_scores=scores_of(0.5, 0.6)) for number in (1, 2))
    assert p_worse(one, other) == 1.0
